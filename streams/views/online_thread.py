"""Writes beside the thread that computes: while Redis or the disk works, the next batch is decoded.

Jobs are done in the order given, so a report that follows rows is seen after them. What waits is sent together, all
views and partitions, and costs one round trip; rows that still wait when newer ones of their task come are joined with
these, a key once: a Redis that is slower than the stream gets fewer rows, not later ones. Files are written behind the
rows that came before them and beside those that come after: a disk that takes a second to say that a snapshot is safe
makes no row late.

    given     rows  save  rows  report             save waits for the rows before it alone
    online    rows ─┐     rows  report
    files           └─ save ───────────
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from feature_store.online.redis_online import OnlineWriter, RowWrite
from feature_store.plan import ViewPlan
from feature_store.rows import RowBatch, newest_of
from headrace.errors import UnavailableError
from headrace.logging import get_logger
from streams.stopped_waiting import StoppedWaitingError

__all__ = ["OnlineThread"]

_AHEAD = 16
"""Jobs that may wait: about one turn of the worker; then it waits too."""
_JOINED_ROWS = 100_000
"""Most rows that wait for one task; then the worker waits, and memory stays bounded."""
_RETRY_S = 0.5
_LOG = get_logger(__name__)
_Jobs = queue.Queue[Callable[[], object] | None]


class OnlineThread:
    """Does jobs one after another, each until it succeeds.

    Args:
        online: writes rows.
        stop: set when nobody wants to wait for a server any longer.
        wrote: told the view, how many rows it was given, and how many the store took.
    """

    def __init__(
        self, online: OnlineWriter, stop: threading.Event, wrote: Callable[[str, int, int], None] = lambda *_: None
    ) -> None:
        self._online = online
        self._wrote = wrote
        self._stop = stop
        self._jobs: _Jobs = queue.Queue(_AHEAD)
        self._files: _Jobs = queue.Queue(_AHEAD)
        self._waiting: dict[tuple[str, int], RowWrite] = {}
        self._is_asked = False
        """Whether a job that takes what waits is among the jobs; one is enough."""
        self._lock = threading.Lock()
        """Held while a batch is put among the waiting or taken out."""
        self._failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(jobs,), name=name, daemon=True)
            for name, jobs in (("online", self._jobs), ("files", self._files))
        ]
        for thread in self._threads:
            thread.start()

    def write(self, plan: ViewPlan, partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None:
        """Queue rows of one task.

        A row that waits longer is written under the version and watermark of the rows it was joined with: had its key
        changed since, it would be among them.

        Raises:
            StoppedWaitingError: an earlier job was given up.
        """
        self._raise()
        place, given = (plan.view.name, partition), RowWrite(plan, rows, version, watermark_us)
        with self._lock:
            before = self._waiting.get(place)
            if before is not None and len(before.rows) + len(rows) <= _JOINED_ROWS:
                self._waiting[place] = replace(given, rows=newest_of(before.rows, rows))
                return
        if before is not None:
            self._jobs.join()
            self._raise()
        with self._lock:
            self._waiting[place] = given
            is_asked, self._is_asked = self._is_asked, True
        if not is_asked:
            self._jobs.put(self._write_waiting)

    def do(self, job: Callable[[], object]) -> None:
        """Queue a job; waits while too many do."""
        self._raise()
        self._jobs.put(partial(self._insist, job))

    def save(self, job: Callable[[], object]) -> None:
        """Queue a job with files: it begins when everything given before is done; nothing else waits for it.

        Such jobs are done in their order. Where too many wait, the rest waits too.
        """
        self._raise()
        self._jobs.put(lambda: self._files.put(partial(self._insist, job)))

    def wait(self) -> None:
        """Return when everything queued is done.

        Raises:
            StoppedWaitingError: something was given up.
        """
        self._jobs.join()
        self._files.join()
        self._raise()

    def close(self) -> None:
        """End the threads; what is queued is done first unless it was given up."""
        for thread, jobs in zip(self._threads, (self._jobs, self._files), strict=True):
            jobs.put(None)
            thread.join()

    def _work(self, jobs: _Jobs) -> None:
        while (job := jobs.get()) is not None:
            try:
                if self._failure is None:
                    job()
            except BaseException as error:
                # Raised again in the worker's thread, at its next call.
                self._failure = error
            finally:
                jobs.task_done()

    def _write_waiting(self) -> None:
        with self._lock:
            taken, self._waiting, self._is_asked = list(self._waiting.values()), {}, False
        self._insist(lambda: self._write(taken))

    def _write(self, taken: list[RowWrite]) -> None:
        for each, written in zip(taken, self._online.write_all(taken), strict=True):
            self._wrote(each.plan.view.name, len(each.rows), written)

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
