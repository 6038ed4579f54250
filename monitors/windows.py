"""Open windows of event time: rows come in any order, each window closes once.

    base windows   │  17622  │  17623  │  17624  │       numbered by event time, so a restart numbers them alike
    judged         │ rows    │ few ····│· joined │       few rows wait for the next window

A record for a window already closed is late: counted, and left out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.rows import PredictionColumns

__all__ = ["ClosedWindow", "WindowBuffer"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClosedWindow:
    """One base window, whole."""

    from_us: int
    until_us: int
    rows: PredictionColumns
    """Each event once, sorted by time and id."""
    joined: PredictionColumns
    """The rows and those of earlier windows that were too few to be judged."""
    joined_from_us: int
    silence_us: int
    """Longest time without an event that ends in this window."""
    nth: int
    """Closed windows since the first record, this one included; 0 while there was none.

    In the first a model may have begun to answer in its middle, perhaps with a single trial request."""

    @property
    def number(self) -> int:
        """Same for the same event time, in every run."""
        return self.until_us // (self.until_us - self.from_us)


class WindowBuffer:
    """Rows of the windows that are still open.

    Args:
        window_us: length.
        min_rows: fewer are joined with the next window.
        inputs: F.
    """

    def __init__(self, *, window_us: int, min_rows: int, inputs: int) -> None:
        self._window_us, self._min_rows, self._inputs = window_us, min_rows, inputs
        self._open: dict[int, list[PredictionColumns]] = {}
        self._carried = PredictionColumns.concatenate([], inputs)
        self._carried_from_us = 0
        self._nth = 0
        self._last_event_us = 0
        """Newest event of the closed windows; 0 before the first."""
        self.closed_until_us = 0
        """End of the last closed window; start of the first one until then; 0 before anything is known."""
        self.late = 0
        """Records that came after their window was closed."""

    def add(self, rows: PredictionColumns) -> None:
        """Take records in any order."""
        is_late = rows.times_us < self.closed_until_us
        self.late += int(is_late.sum())
        bases = rows.times_us // self._window_us
        for base in np.unique(bases[~is_late]).tolist():
            self._open.setdefault(base, []).append(rows.take((bases == base) & ~is_late))

    def may_close(self, reached_us: int) -> bool:
        """Whether event time ``reached_us`` closes a window, or it is not known yet where windows begin."""
        return not self.closed_until_us or self.closed_until_us + self._window_us <= reached_us

    def next_end_us(self, reached_us: int) -> int | None:
        """End of the oldest window that event time ``reached_us`` closes; None when there is none.

        The first call fixes where windows begin: with the oldest record, so everything there is must have been read.
        """
        if not self.closed_until_us:
            reached = reached_us // self._window_us
            self.closed_until_us = min(min(self._open, default=reached), reached) * self._window_us
        end_us = self.closed_until_us + self._window_us
        return end_us if end_us <= reached_us else None

    def close(self, end_us: int) -> ClosedWindow:
        """Take out the window that ends at ``end_us``."""
        from_us = end_us - self._window_us
        rows = PredictionColumns.concatenate(self._open.pop(from_us // self._window_us, []), self._inputs)
        rows = rows.one_per_event()
        joined_from_us = self._carried_from_us if len(self._carried) else from_us
        joined = PredictionColumns.concatenate([self._carried, rows], self._inputs)
        self._nth += bool(self._nth or len(rows))
        silence_us = self._silence(rows.times_us, end_us)
        enough = len(joined) >= self._min_rows
        self._carried = PredictionColumns.concatenate([], self._inputs) if enough else joined
        self._carried_from_us = joined_from_us
        self._last_event_us = int(rows.times_us[-1]) if len(rows) else self._last_event_us
        self.closed_until_us = end_us
        return ClosedWindow(
            from_us=from_us,
            until_us=end_us,
            rows=rows,
            joined=joined,
            joined_from_us=joined_from_us,
            silence_us=silence_us,
            nth=self._nth,
        )

    def state(self) -> tuple[dict[str, int], dict[str, Array]]:
        """Numbers and arrays for a snapshot."""
        numbers = {
            "carried_from_us": self._carried_from_us,
            "last_event_us": self._last_event_us,
            "closed_until_us": self.closed_until_us,
            "nth": self._nth,
            "late": self.late,
        }
        waiting = PredictionColumns.concatenate(
            [part for _, parts in sorted(self._open.items()) for part in parts], self._inputs
        )
        arrays = {f"open_{name}": array for name, array in waiting.arrays().items()}
        return numbers, {**arrays, **{f"carried_{name}": array for name, array in self._carried.arrays().items()}}

    def restore(self, numbers: dict[str, int], arrays: dict[str, Array]) -> None:
        """Take up where a snapshot was made."""
        self._carried_from_us, self._last_event_us = numbers["carried_from_us"], numbers["last_event_us"]
        self.closed_until_us, self._nth, self.late = numbers["closed_until_us"], numbers["nth"], numbers["late"]
        self._carried = PredictionColumns(**_part(arrays, "carried_"))
        self._open = {}
        late = self.late
        self.add(PredictionColumns(**_part(arrays, "open_")))
        self.late = late

    def _silence(self, times_us: Array, end_us: int) -> int:
        if not self._last_event_us and not len(times_us):
            return 0
        before = [self._last_event_us] if self._last_event_us else []
        return int(np.diff(np.concatenate([before, times_us, [end_us]])).max())


def _part(arrays: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
