"""Feature rows in columns: one row for each (key, instant)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store.plan import ViewPlan

__all__ = ["RowBatch", "newest_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowBatch:
    """Rows of one view; a row holds at every instant ``valid_from_us <= q < valid_until_us``.

    Shapes: n rows, W cells (feature_store.row_values), I inputs, m events in all states, C lifetime cells.
    """

    keys: NDArray[np.generic]
    """(n,) int64, or objects when keys are texts."""
    valid_from_us: NDArray[np.int64]
    valid_until_us: NDArray[np.int64]
    """(n,) NEVER_US when nothing more happens without new events."""
    values: NDArray[np.float64]
    """(n, W) NaN is null."""
    has_state: NDArray[np.bool_]
    """(n,) whether the slice below holds every live event of the key.

    False: the key has more than MAX_STATE_EVENTS, or this is a log batch; the row cannot be moved in time.
    """
    state_start: NDArray[np.int64]
    """(n + 1,) row i has the events ``state_start[i]:state_start[i + 1]``, by (time, id)."""
    state_t: NDArray[np.int64]
    state_id: NDArray[np.int64]
    state_inputs: NDArray[np.int64]
    """(I, m) NULL where missing."""
    state_base: NDArray[np.int64]
    """(n, C) cells of the view's lifetimes before those events (feature_store.fold_kernels)."""
    state_sketches: tuple[bytes, ...] = ()
    """(n,) sketches before those events (feature_store.sketch_layout); () of a view without, and of a log batch."""

    def __len__(self) -> int:
        return len(self.valid_from_us)

    @staticmethod
    def without_state(
        plan: ViewPlan,
        keys: NDArray[np.generic],
        valid_from_us: NDArray[np.int64],
        valid_until_us: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> "RowBatch":
        """Rows as the feature log keeps them."""
        nothing = np.empty(0, dtype=np.int64)
        return RowBatch(
            keys=keys,
            valid_from_us=valid_from_us,
            valid_until_us=valid_until_us,
            values=values,
            has_state=np.zeros(len(keys), dtype=np.bool_),
            state_start=np.zeros(len(keys) + 1, dtype=np.int64),
            state_t=nothing,
            state_id=nothing,
            state_inputs=np.empty((len(plan.inputs), 0), dtype=np.int64),
            state_base=np.empty((len(keys), 0), dtype=np.int64),
        )


def newest_of(older: RowBatch, newer: RowBatch) -> RowBatch:
    """Rows of two batches of one view, at most one of each key: the newer where both have it."""
    rows = np.flatnonzero(~_is_in(older.keys, newer.keys))
    if not len(rows):
        return newer
    sizes = np.diff(older.state_start)[rows]
    ends = np.cumsum(sizes)
    events = np.repeat(older.state_start[rows] - (ends - sizes), sizes) + np.arange(ends[-1])
    return RowBatch(
        keys=np.concatenate([older.keys[rows], newer.keys]),
        valid_from_us=np.concatenate([older.valid_from_us[rows], newer.valid_from_us]),
        valid_until_us=np.concatenate([older.valid_until_us[rows], newer.valid_until_us]),
        values=np.concatenate([older.values[rows], newer.values]),
        has_state=np.concatenate([older.has_state[rows], newer.has_state]),
        state_start=np.concatenate([[0], ends, ends[-1] + newer.state_start[1:]]),
        state_t=np.concatenate([older.state_t[events], newer.state_t]),
        state_id=np.concatenate([older.state_id[events], newer.state_id]),
        state_inputs=np.concatenate([older.state_inputs[:, events], newer.state_inputs], axis=1),
        state_base=np.concatenate([older.state_base[rows], newer.state_base]),
        state_sketches=(*(older.state_sketches[row] for row in rows.tolist()), *newer.state_sketches)
        if newer.state_sketches
        else (),
    )


def _is_in(keys: NDArray[np.generic], others: NDArray[np.generic]) -> NDArray[np.bool_]:
    if keys.dtype != object:
        return np.isin(keys, others)
    known = set(others.tolist())
    return np.fromiter((key in known for key in keys.tolist()), dtype=np.bool_, count=len(keys))
