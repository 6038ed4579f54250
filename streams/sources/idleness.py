"""Which partitions are idle, so that they do not hold the watermark; pure.

A partition is idle when it has been read to its end for a while. One that wakes up wakes all of its group: after a
pause every partition may have new messages, and those read first must not move event time past the others.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

__all__ = ["IDLE_AFTER_S", "IdleWatch"]

IDLE_AFTER_S = 2.0
"""Longer than a read takes, shorter than anybody waits for a refreshed value."""

P = TypeVar("P", bound=Hashable)


class IdleWatch(Generic[P]):
    """Idleness of a group of partitions.

    >>> watch = IdleWatch(["a", "b"], now_s=0.0)
    >>> watch.look(at_end=["a", "b"], now_s=1.0), watch.look(at_end=["a"], now_s=2.0)
    (set(), {'a'})
    >>> watch.saw(["a"], now_s=3.0), watch.idle
    ({'a'}, set())
    """

    def __init__(self, partitions: Iterable[P], *, now_s: float) -> None:
        self._active_s = dict.fromkeys(partitions, now_s)
        self.idle: set[P] = set()

    def add(self, partitions: Iterable[P], *, now_s: float) -> None:
        """These belong to the group from now on."""
        self._active_s |= dict.fromkeys(partitions, now_s)

    def remove(self, partitions: Iterable[P]) -> None:
        """These belong to it no longer."""
        for partition in partitions:
            self._active_s.pop(partition, None)
            self.idle.discard(partition)

    def saw(self, partitions: Iterable[P], *, now_s: float) -> set[P]:
        """Messages came from these partitions; gives those that are idle no longer."""
        seen = set(partitions)
        woken: set[P] = set()
        if seen & self.idle:
            woken, self.idle = self.idle, set()
            self._active_s = dict.fromkeys(self._active_s, now_s)
        for partition in seen:
            self._active_s[partition] = now_s
        return woken

    def look(self, at_end: Iterable[P], *, now_s: float) -> set[P]:
        """These partitions have been read to their ends; gives those that have become idle."""
        fresh = self.candidates(at_end, now_s=now_s)
        self.idle |= fresh
        return fresh

    def candidates(self, at_end: Iterable[P], *, now_s: float) -> set[P]:
        """Those of these partitions that :meth:`look` would call idle."""
        return {
            partition
            for partition in at_end
            if partition not in self.idle and now_s - self._active_s[partition] >= IDLE_AFTER_S
        }
