"""Rows a second of a run, from the work alone: no start-up, no waiting, none of what earlier runs did; pure."""

import math

__all__ = ["Rate"]

_MEMORY_S = 10.0
"""Work so long ago counts for a third of what is done now."""
_LEAST_S = 1.0
"""Less work than that says nothing."""


class Rate:
    """Told of every piece of work, it knows how fast it goes on.

    Args:
        warm_rows: rows done before kernels are loaded and files are open; their time does not count.

    >>> rate = Rate(warm_rows=100)
    >>> rate.add(rows=100, seconds=9.0)
    >>> rate.late_per_s, rate.left_s(1_000)
    (None, None)
    >>> rate.add(rows=400, seconds=2.0)
    >>> rate.late_per_s, rate.left_s(1_000)
    (200.0, 5.0)
    """

    def __init__(self, *, warm_rows: int) -> None:
        self._cold_rows = warm_rows
        self._rows = self._seconds = 0.0
        self._late_rows = self._late_s = 0.0

    @property
    def mean_per_s(self) -> float | None:
        """Over the whole run; None when it was too short to tell."""
        return self._rows / self._seconds if self._seconds >= _LEAST_S else None

    @property
    def late_per_s(self) -> float | None:
        """Of the last seconds; None when it is too early to tell."""
        return self._late_rows / self._late_s if self._seconds >= _LEAST_S else None

    def left_s(self, rows: int) -> float | None:
        """Seconds that so many rows still take; None when it is too early to tell."""
        rate = self.late_per_s
        return rows / rate if rate else None

    def add(self, *, rows: int, seconds: float) -> None:
        """Count a piece of work."""
        if self._cold_rows > 0:
            self._cold_rows -= rows
            return
        self._rows, self._seconds = self._rows + rows, self._seconds + seconds
        kept = math.exp(-seconds / _MEMORY_S)
        self._late_rows, self._late_s = self._late_rows * kept + rows, self._late_s * kept + seconds
