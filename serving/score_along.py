"""Comparison scores behind the answer: a version that only scores along never makes a user wait."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from headrace.logging import get_logger

__all__ = ["AlongJob", "ScoreAlong"]

MAX_JOBS = 5_000
"""Longest queue: a version too slow to keep up loses comparisons, never answers."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AlongJob:
    """Work for one request that is already answered."""

    run: Callable[[], None]
    """Score and log."""
    skip: Callable[[], None]
    """Log without the comparison."""


class ScoreAlong:
    """One background thread with a bounded queue."""

    def __init__(self, max_jobs: int = MAX_JOBS) -> None:
        self._jobs: queue.Queue[AlongJob | None] = queue.Queue(max_jobs)
        self._skipped = 0
        self._thread = threading.Thread(target=self._run, name="score-along", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return self._jobs.qsize()

    @property
    def skipped(self) -> int:
        """Requests logged without comparison scores since the start."""
        return self._skipped

    def submit(self, job: AlongJob) -> None:
        """Run a job soon, or its shorter form now when the queue is full."""
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._skipped += 1
            job.skip()

    def close(self) -> None:
        """Finish what is queued."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.run()
            except Exception as error:  # one request's comparison must not end all others'
                _log.error("comparison scores failed", error=error)
