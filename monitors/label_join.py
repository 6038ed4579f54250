"""Predictions wait here for their labels; cohorts of equal age come out.

A cohort is all predictions of one base window. It is judged when the label of its youngest event is known, so that
no comparison mixes an old half with a young one, whose early labels are biased.

    window          │ cohort │                              labels known
    event time    ──┼────────┼───────────── delay ──────────┼──────────────►
                    a        b                             b+delay   + grace: the rest is given up
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.rows import PredictionColumns

__all__ = ["GRACE_WINDOWS", "LabelJoin", "Waiting"]

Array = NDArray[Any]

GRACE_WINDOWS = 3
"""Windows a routing unit with a missing label is waited for."""
UNKNOWN = -1
MAX_SPARE = 500_000
"""Labels kept for predictions that have not come; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiting:
    """Predictions without the inputs; N rows."""

    ids: Array
    times_us: Array
    units: Array
    epochs: Array
    versions: Array
    """(N, 2)"""
    scores: Array
    """(N, 2)"""
    segments: Array
    """(N, K) quartile, 0 to 3, of each of K sliced inputs; -1 for null."""
    labels: Array
    """int8: 0, 1, or -1 while unknown."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: Array) -> "Waiting":
        """Rows by mask or by index."""
        return Waiting(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def score_of(self, version: int) -> Array:
        """Scores of one version; NaN where it failed or was not asked."""
        asked = self.versions == version
        return np.where(asked[:, 0], self.scores[:, 0], np.where(asked[:, 1], self.scores[:, 1], np.nan))

    def and_then(self, more: "Waiting") -> "Waiting":
        """Rows of both."""
        return Waiting(**{f.name: np.concatenate([getattr(self, f.name), getattr(more, f.name)]) for f in fields(self)})

    @staticmethod
    def of(rows: PredictionColumns, segments: Array) -> "Waiting":
        """What must be kept of predictions until their labels come."""
        return Waiting(
            ids=rows.ids,
            times_us=rows.times_us,
            units=rows.units,
            epochs=rows.epochs,
            versions=rows.versions,
            scores=rows.scores,
            segments=segments.astype(np.int8),
            labels=np.full(len(rows), UNKNOWN, np.int8),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matured:
    """What one window's closing brought to light."""

    whole: Waiting
    """Rows of routing units (times base windows) whose labels are all known."""
    partial: Waiting
    """Labelled rows of units given up on."""
    unlabelled: int
    """Rows given up on."""


class LabelJoin:
    """Joins predictions with labels by event id, in either order of arrival.

    Args:
        segments: K.
        window_us: length of a base window.
        delay_us: time from an event to the moment its label counts as known.
    """

    def __init__(self, *, segments: int, window_us: int, delay_us: int) -> None:
        self._window_us, self._delay_us = window_us, delay_us
        self.waiting = _nothing(segments)
        # Labels nobody waited for yet: id, value, and their number in order of arrival.
        self._spare = np.zeros((0, 3), np.int64)
        self._fresh: list[tuple[int, int]] = []
        self._taken = 0

    def add_label(self, event_id: int, value: int) -> None:
        """A label became known; a later one for the same event replaces it."""
        self._fresh.append((event_id, value))

    def add_predictions(self, waiting: Waiting) -> None:
        """Rows of a window that was just closed."""
        self.waiting = self.waiting.and_then(waiting)

    def mature(self, until_us: int) -> Matured:
        """Take out the cohorts that are due at ``until_us``."""
        self._apply_labels()
        rows = self.waiting
        bases = rows.times_us // self._window_us
        due_us = (bases + 1) * self._window_us + self._delay_us
        is_due = due_us <= until_us
        unit_of_row = _group_numbers(rows.units, bases)
        open_in_unit = np.bincount(unit_of_row, weights=rows.labels == UNKNOWN, minlength=1)[unit_of_row]
        is_whole = is_due & (open_in_unit == 0)
        is_given_up = is_due & ~is_whole & (due_us + GRACE_WINDOWS * self._window_us <= until_us)
        given_up = rows.take(is_given_up)
        self.waiting = rows.take(~(is_whole | is_given_up))
        return Matured(
            whole=rows.take(is_whole),
            partial=given_up.take(given_up.labels != UNKNOWN),
            unlabelled=int((given_up.labels == UNKNOWN).sum()),
        )

    def arrays(self) -> dict[str, Array]:
        """For a snapshot."""
        kept = {f"waiting_{field.name}": getattr(self.waiting, field.name) for field in fields(Waiting)}
        fresh = np.array(self._fresh, np.int64).reshape(-1, 2)
        return {**kept, "spare": self._spare, "fresh": fresh, "taken": np.array([self._taken])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take up where a snapshot was made."""
        self.waiting = Waiting(**{field.name: arrays[f"waiting_{field.name}"] for field in fields(Waiting)})
        self._spare = arrays["spare"]
        self._fresh = [(int(event_id), int(value)) for event_id, value in arrays["fresh"]]
        self._taken = int(arrays["taken"][0])

    def _apply_labels(self) -> None:
        fresh = np.array(self._fresh, np.int64).reshape(-1, 2)
        arrival = np.arange(self._taken, self._taken + len(fresh))
        self._taken += len(fresh)
        self._fresh.clear()
        known = np.concatenate([self._spare, np.column_stack([fresh, arrival])])
        if not len(known):
            return
        # The newest label of an id is the last of its run after a stable sort.
        known = known[np.argsort(known[:, 0], kind="stable")]
        known = known[np.append(np.diff(known[:, 0]) != 0, True)]
        at = np.minimum(np.searchsorted(known[:, 0], self.waiting.ids), len(known) - 1)
        hit = known[at, 0] == self.waiting.ids
        labels = np.where(hit, known[at, 1], self.waiting.labels).astype(np.int8)
        self.waiting = replace(self.waiting, labels=labels)
        used = np.zeros(len(known), np.bool_)
        used[at[hit]] = True
        # In a catch-up labels are far ahead of predictions; many others are of events that nobody predicted.
        spare = known[~used]
        oldest = np.sort(spare[:, 2])[-MAX_SPARE] if len(spare) > MAX_SPARE else 0
        self._spare = spare[spare[:, 2] >= oldest]


def _group_numbers(units: Array, bases: Array) -> Array:
    """A small number for each (unit, base window)."""
    pairs = np.stack([units, bases], axis=1)
    if not len(pairs):
        return np.zeros(0, np.int64)
    return np.asarray(np.unique(pairs, axis=0, return_inverse=True)[1]).reshape(-1)


def _nothing(segments: int) -> Waiting:
    none = np.zeros(0, np.int64)
    return Waiting(
        ids=none,
        times_us=none,
        units=none,
        epochs=none,
        versions=np.zeros((0, 2), np.int32),
        scores=np.zeros((0, 2)),
        segments=np.zeros((0, segments), np.int8),
        labels=np.zeros(0, np.int8),
    )
