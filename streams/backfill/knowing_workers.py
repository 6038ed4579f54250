"""The running stream workers, and whether they know the view that is computed for them."""

from feature_store.definitions.registered_views import versions_of
from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.spec.project import Project
from streams.worker_lock import RESTART, RunningWorker, running_workers

__all__ = ["knowing_workers"]


def knowing_workers(settings: Settings, project: Project, view: str) -> list[RunningWorker]:
    """The workers that run now; they open the view when it is live.

    Raises:
        RejectedError: one of them began without this definition of the view, so that nobody would answer for its keys.
    """
    version = versions_of(project)[view]
    workers = [worker for worker in running_workers(settings) if worker.project == project.name]
    without = [str(worker.pid) for worker in workers if worker.views.get(view) != version]
    if without:
        who = f"worker with pid {without[0]}" if len(without) == 1 else f"workers with the pids {', '.join(without)}"
        raise RejectedError(
            f"the stream {who} began without this definition of view {view!r}",
            hint=f"{RESTART}, then run the command again",
        )
    return workers
