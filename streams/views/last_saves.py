"""Saving what moves to another worker, beside everything that stays.

Ordinary snapshots are written one after another (streams.views.online_thread). What moves is nobody's any more here, so
that it can be saved in a thread of its own.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.errors import UnavailableError
from headrace.logging import get_logger

__all__ = ["LastSaves"]

_AT_ONCE = 2
"""While one waits for the disk, another is made ready."""
_PATIENCE_S, _AGAIN_S = 30.0, 0.5
"""While the broker is away, of whom is asked whether the partitions are still ours to save."""
_LOG = get_logger(__name__)


class LastSaves:
    """Does the last saves of partitions that move."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "last saves")
        self._begun: list[Future[None]] = []

    def save_then(self, saves: Sequence[Callable[[], None]], let_go: Callable[[], None]) -> None:
        """Begin to save; lets go when all is saved, or has failed: then the next owner replays more."""
        began_s, lock, left = time.monotonic(), threading.Lock(), len(saves)

        def finished(_: "Future[None]") -> None:
            nonlocal left
            with lock:
                left -= 1
                last = left == 0
            if last:
                _LOG.info("partitions saved", views=len(saves), saved_s=round(time.monotonic() - began_s, 3))
                let_go()

        if not saves:
            let_go()
        for save in saves:
            future = self._threads.submit(_insist, save)
            self._begun.append(future)
            future.add_done_callback(finished)

    def check(self) -> None:
        """Raise what a save raised.

        Raises:
            HeadraceError: the disk is full, or the broker stayed away.
        """
        done = [future for future in self._begun if future.done()]
        for future in done:
            self._begun.remove(future)
            future.result()

    def close(self) -> None:
        """Wait for what was begun."""
        self._threads.shutdown(wait=True)


def _insist(save: Callable[[], None]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return save()
        except UnavailableError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_AGAIN_S)
