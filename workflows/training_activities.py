"""The activity of the gpu queue: training in a supervised child process."""

from dataclasses import asdict
from pathlib import Path

from temporalio import activity

from headrace.config import Settings
from headrace.logging import get_logger
from headrace.spec.project import load_project
from trainers.job import RunFolder, TrainingJob
from trainers.progress import Progress
from trainers.supervisor import supervise
from workflows.activity_edge import activity_named
from workflows.activity_messages import TRAIN_MODEL, Trained, TrainRequest

__all__ = ["TrainingActivities"]

_log = get_logger(__name__)


class TrainingActivities:
    """Trains models; an attempt that follows a lost one resumes from its checkpoint.

    A lost attempt that still runs holds the lock of the run's folder, so two never write there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @activity_named(TRAIN_MODEL)
    def train_model(self, request: TrainRequest) -> Trained:
        """Train on a data set; heartbeats carry the newest progress."""
        model = load_project(request.project).model(request.model)
        folder = RunFolder(self._settings.runs_dir / request.run)
        job = TrainingJob(
            model=model.name,
            dataset=request.dataset,
            trainer=model.trainer,
            device=self._settings.train.device,
            price_per_device_hour=self._settings.train.price_per_device_hour,
            created_us=request.at_us,
        )
        _log.info("training", run=request.run, attempt=activity.info().attempt, dataset=Path(request.dataset).name)
        manifest = supervise(folder, job, beat=_beat)
        _log.info("trained", run=request.run, weights=manifest.weights_sha256[:12], **manifest.cost)
        return Trained(
            artifact=str(folder.artifact),
            weights_sha256=manifest.weights_sha256,
            device_seconds=manifest.cost.get("device_seconds", 0.0),
            price=manifest.cost.get("price", 0.0),
        )


def _beat(progress: Progress | None) -> None:
    activity.heartbeat(asdict(progress) if progress is not None else None)
