"""Writes rows online beside the thread that computes them: while Redis works, the next batch is decoded.

Jobs are done in the order given, so a report that follows rows is seen after them.
"""

import queue
import threading
from collections.abc import Callable

from feature_store.plan import ViewPlan
from feature_store.redis_online import OnlineWriter
from feature_store.rows import RowBatch
from headrace.errors import UnavailableError
from headrace.logging import get_logger

__all__ = ["OnlineThread", "StoppedWaitingError"]

_AHEAD = 16
"""Jobs that may wait: about one turn of the worker; then it waits too, and memory stays bounded."""
_RETRY_S = 0.5
_LOG = get_logger(__name__)


class StoppedWaitingError(Exception):
    """Told to stop while the online store was away; what was given is not written."""


class OnlineThread:
    """Does jobs one after another, each until it succeeds.

    Args:
        online: writes rows.
        stop: set when nobody wants to wait for a server any longer.
    """

    def __init__(self, online: OnlineWriter, stop: threading.Event) -> None:
        self._online = online
        self._stop = stop
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(_AHEAD)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="online", daemon=True)
        self._thread.start()

    def write(self, plan: ViewPlan, rows: RowBatch, *, version: int, watermark_us: int) -> int:
        """Queue rows; gives their number.

        Raises:
            StoppedWaitingError: an earlier job was given up.
        """
        self.do(lambda: self._online.write(plan, rows, version=version, watermark_us=watermark_us))
        return len(rows)

    def do(self, job: Callable[[], object]) -> None:
        """Queue a job; waits while too many do."""
        self._raise()
        self._jobs.put(job)

    def wait(self) -> None:
        """Return when everything queued is done.

        Raises:
            StoppedWaitingError: something was given up.
        """
        self._jobs.join()
        self._raise()

    def close(self) -> None:
        """End the thread; what is queued is done first unless it was given up."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                if self._failure is None:
                    self._insist(job)
            except BaseException as error:
                # Raised again in the worker's thread, at its next call.
                self._failure = error
            finally:
                self._jobs.task_done()

    def _insist(self, job: Callable[[], object]) -> None:
        warned = False
        while True:
            try:
                job()
            except UnavailableError as error:
                if not warned:
                    warned = True
                    _LOG.warning("waiting for a server", why=error.args[0])
                if self._stop.wait(_RETRY_S):
                    raise StoppedWaitingError from error
            else:
                return

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure
