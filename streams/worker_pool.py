"""Several stream workers of one home, as processes: they share the partitions by Kafka's groups alone."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from headrace.logging import get_logger

__all__ = ["run_pool"]

_LOOK_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
"""Before a worker that died starts again; doubled each time it dies within a minute of its start."""
_LIVED_S = 60.0
_STOP_S = 120.0
"""Longest wait for a worker to save; as long as it waits for deliveries itself."""
_PR_SET_PDEATHSIG = 1
_LOG = get_logger(__name__)


class _Member:
    """One place in the pool: its process, and when it may start again."""

    def __init__(self, make: Callable[[], BaseProcess]) -> None:
        self._make = make
        self._pause_s = _FIRST_PAUSE_S
        self._not_before_s = 0.0
        self._started_s = 0.0
        self.process: BaseProcess | None = None

    def keep(self) -> None:
        """Start the process if it does not run, and it is time."""
        now_s = time.monotonic()
        if self.process is not None and self.process.exitcode is not None:
            if now_s - self._started_s > _LIVED_S:
                self._pause_s = _FIRST_PAUSE_S
            _LOG.warning("stream worker died", exit_code=self.process.exitcode, starts_again_s=self._pause_s)
            self._not_before_s, self._pause_s = now_s + self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
            self.process = None
        if self.process is None and now_s >= self._not_before_s:
            self.process, self._started_s = self._make(), now_s
            self.process.start()


def run_pool(work: Callable[[], int], count: int, stop: threading.Event) -> int:
    """Keep ``count`` processes that do this work until told to stop; then let each save.

    Args:
        work: what one process does; gives its exit code.
        count: how many.
        stop: set to leave.

    Returns:
        0 when all ended well.
    """
    # Forked before anything runs here: a worker inherits settings, definitions and logging as they are.
    context = multiprocessing.get_context("fork")
    members = [_Member(lambda: context.Process(target=_child, args=(work,))) for _ in range(count)]
    while not stop.is_set():
        for member in members:
            member.keep()
        wait([member.process.sentinel for member in members if member.process is not None], _LOOK_S)
    running = [member.process for member in members if member.process is not None]
    for process in running:
        process.terminate()
    deadline_s = time.monotonic() + _STOP_S
    for process in running:
        process.join(max(0.0, deadline_s - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()
    return max((abs(process.exitcode or 0) for process in running), default=0)


def _child(work: Callable[[], int]) -> None:
    if sys.platform == "linux":
        # Ends, having saved, when the parent is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os._exit(_guarded(work))


def _guarded(work: Callable[[], int]) -> int:
    try:
        return work()
    except BaseException as error:  # the end of a process: said, counted by the parent, and begun again
        _LOG.error("stream worker failed", why=str(error) or repr(error))
        return 1
