"""Real activities from settings: the one place of this package that knows every adapter."""

from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.control import controller_id
from headrace.contracts.rollout import RolloutChange
from headrace.rollout_store import RolloutStore, announce
from headrace.temporal_client import workflow_url
from workflows.activity_edge import Activities
from workflows.dataset_activities import DatasetActivities
from workflows.registry_activities import RegistryActivities
from workflows.rollout_activities import RolloutActivities
from workflows.training_activities import TrainingActivities

__all__ = ["build_activities"]


def build_activities(settings: Settings) -> Activities:
    """Every activity of the workflows, bound to the configured servers and folders; connects to nothing yet."""

    def tell(change: RolloutChange) -> None:
        announce(settings, change)

    def links(model: str) -> dict[str, str]:
        pages = {"controller": workflow_url(settings, controller_id(model))}
        return pages | ({"MLflow": f"{settings.mlflow.ui_url}/#/models/{model}"} if settings.mlflow.ui_url else {})

    datasets, training, registry = (
        DatasetActivities(settings),
        TrainingActivities(settings),
        RegistryActivities(settings),
    )
    rollouts = RolloutActivities(
        RolloutStore(settings.redis.url),
        announce=tell,
        set_aliases=registry.set_aliases,
        models_dir=settings.models_dir,
        links=links,
        clock=SystemClock(),
    )
    return Activities(
        control=(
            rollouts.describe_model,
            rollouts.read_rollout,
            rollouts.write_rollout,
            rollouts.announce_rollout,
            rollouts.align_registry,
            rollouts.rehearse_rollback,
            datasets.snapshot_dataset,
            registry.evaluate_candidate,
            registry.register_model,
            registry.publish_reference,
        ),
        training=(training.train_model,),
    )
