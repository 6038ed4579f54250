"""Activities that make training data: a training and a test set as of one instant, and monitoring references.

 ┌────────── history ──────────┬──── test ────┬─ label delay ─┐
─┴─────── training set ────────┴── test set ──┴───────────────┴──► event time
                                              matured         as of
"""

from headrace.config import Settings
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import folder_of
from headrace.errors import RejectedError
from headrace.logging import get_logger
from headrace.spec.model import Model
from headrace.spec.policies import RetrainPolicy
from headrace.spec.project import Project, load_project
from workflows.activity_edge import activity_named, alive
from workflows.activity_messages import SNAPSHOT_DATASET, Snapshot, SnapshotRequest
from workflows.log_barrier import wait_until_durable

__all__ = ["DatasetActivities", "shortage", "test_span_us"]

_LOG_WAIT_S = 60.0
_log = get_logger(__name__)


class DatasetActivities:
    """Builds data sets; the same request gives the same folders, named by it and their rows."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @activity_named(SNAPSHOT_DATASET)
    def snapshot_dataset(self, request: SnapshotRequest) -> Snapshot:
        """Freeze what is known at one instant as a training and a test set."""
        project = load_project(request.project)
        model = project.model(request.model)
        with alive():
            topics = [model.events.name, model.label.name]
            wait_until_durable(self._settings, project.name, topics, timeout_s=_LOG_WAIT_S)
            return self._snapshot(project, model, request.at_us)

    def _snapshot(self, project: Project, model: Model, at_us: int) -> Snapshot:
        policy = model.retrain
        matured_us = at_us - model.label.delay_us
        split_us = matured_us - test_span_us(policy, self._matured_span_us(project, model, matured_us))
        try:
            train = self._build(project, model, split_us - policy.history_us, split_us, at_us)
            test = self._build(project, model, split_us, matured_us, at_us)
        except RejectedError as error:
            return Snapshot(shortage=f"not enough labels: {error.args[0]}")
        lacking = shortage(train, test, policy)
        _log.info("snapshot", model=model.name, train=train.dataset_id, test=test.dataset_id, shortage=lacking)
        return Snapshot(
            train=str(folder_of(self._settings.datasets_dir, train.dataset_id)),
            test=str(folder_of(self._settings.datasets_dir, test.dataset_id)),
            train_rows=train.rows,
            train_positives=train.positives,
            test_rows=test.rows,
            test_positives=test.positives,
            shortage=lacking,
        )

    def _matured_span_us(self, project: Project, model: Model, matured_us: int) -> int:
        from feature_store.offline.event_log import first_event_us

        first_us = first_event_us(self._settings.offline_dir, project, model.events)
        return 0 if first_us is None else max(0, matured_us - first_us)

    def _build(self, project: Project, model: Model, start_us: int, end_us: int, as_of_us: int) -> DatasetManifest:
        from feature_store.training.dataset import build_dataset  # numba takes a second, which every start would pay

        return build_dataset(
            self._settings,
            project,
            model,
            start_us=max(start_us, 0),
            end_us=max(end_us, 1),
            as_of_us=as_of_us,
        )


def test_span_us(policy: RetrainPolicy, matured_span_us: int) -> int:
    """Length of the test window: the policy's, but never more than a third of a young history.

    >>> test_span_us(RetrainPolicy(test="7d"), 9 * 86_400_000_000) // 86_400_000_000
    3
    """
    return min(policy.test_us, matured_span_us // 3)


def shortage(train: DatasetManifest, test: DatasetManifest, policy: RetrainPolicy) -> str:
    """Why these rows are too few to train and to judge on; empty when they are enough."""
    if train.rows < policy.min_rows or train.positives < policy.min_positives:
        return (
            f"not enough labels: {train.rows} rows with {train.positives} positives to train on; "
            f"{policy.min_rows} and {policy.min_positives} are asked"
        )
    if not test.positives:
        return f"not enough labels: no positive among {test.rows} rows to test on"
    return ""
