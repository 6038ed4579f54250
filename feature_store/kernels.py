"""What every engine shares: the layout of a key's history, and how a row is made from it.

A history has a row for each event of a key, by (time, id), and one more:

    T          ID         SUMS ..                          then
    time       event id   exact sum of each input over     number of non-null values of each
                          the events before this row       nullable input before this row

so a window between two rows is two differences, whatever its length, and any order of adding gives the same bits.

Inside loops kernels index plain arrays only: taking a row as a view, or a field out of a tuple, costs an atomic
count of references each time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.plan import COUNT, NEVER_US, NULL, SUM, ViewPlan

__all__ = [
    "I64",
    "ID",
    "SUMS",
    "Shape",
    "T",
    "evaluate_states",
    "fill_values",
    "kernel",
    "mix64",
    "shape_of",
    "upper_bound",
    "value_of",
]

I64 = NDArray[np.int64]

T, ID, SUMS = 0, 1, 2
"""Columns of a history."""
KIND, TOTAL, SEEN, ENTER, LEAVE, SCALE = range(6)
"""Columns of Shape.features; TOTAL and SEEN are columns of a history."""


class Shape(NamedTuple):
    """A plan as kernels need it."""

    features: I64
    """(F, 6) SEEN is -1 for an input that is never null: the number of events serves."""
    empty: NDArray[np.float64]
    offsets: I64
    """(D,) rising; ENTER and LEAVE are positions in it."""
    seen: I64
    """(I,) column of each input's count of non-null values; -1 without."""
    width: int
    """Columns of a history."""


def shape_of(plan: ViewPlan) -> Shape:
    """The kernel side of a plan."""
    inputs, nullable = len(plan.inputs), plan.nullable
    seen = np.full(inputs, -1, dtype=np.int64)
    seen[nullable] = SUMS + inputs + np.arange(int(nullable.sum()))
    features = np.empty((len(plan.kind), 6), dtype=np.int64)
    features[:, KIND] = plan.kind
    features[:, TOTAL] = np.where(plan.input_index >= 0, SUMS + plan.input_index, -1)
    features[:, SEEN] = [seen[i] if i >= 0 else -1 for i in plan.input_index.tolist()]
    features[:, ENTER], features[:, LEAVE] = plan.enter_at, plan.leave_at
    features[:, SCALE] = plan.scale
    return Shape(
        features=features,
        empty=plan.empty,
        offsets=plan.offsets,
        seen=seen,
        width=SUMS + inputs + int(nullable.sum()),
    )


@kernel
def mix64(value: int) -> np.int64:
    """Spread the bits of a number over 63 bits (SplitMix64, Steele et al. 2014)."""
    mixed = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1))


@kernel
def upper_bound(history: I64, start: int, end: int, limit: int) -> int:
    """First row in ``[start, end)`` whose time is above ``limit``; ``end`` if there is none."""
    if start == end or history[end - 1, T] <= limit:
        return end
    # No branch on what is found: a wrong guess of the processor costs more than a step.
    low, rows = start, end - start
    while rows > 1:
        half = rows >> 1
        low += half * int(history[low + half - 1, T] <= limit)
        rows -= half
    return low


@kernel
def value_of(kind: int, events: int, seen: int, total: int, scale: int, empty: float) -> float:
    """The value of a window: one division, so every engine gets the same bits."""
    if kind == COUNT:
        return float(events)
    if seen == 0:
        return empty
    if kind == SUM:
        return float(total) / float(scale)
    return float(total) / float(seen * scale)


@kernel
def fill_values(
    features: I64, empty: NDArray[np.float64], at: I64, history: I64, values: NDArray[np.float64], row: int
) -> None:
    """Write one row of values.

    Args:
        features, empty: of the Shape.
        at: (D,) row of the first event above ``q - offset``, for each offset of the plan.
        history: the key's events.
        values: (n, F).
        row: which of the n.
    """
    for f in range(features.shape[0]):
        low, high = at[features[f, LEAVE]], at[features[f, ENTER]]
        present, amount = high - low, 0
        column = features[f, TOTAL]
        if column >= 0:
            amount = history[high, column] - history[low, column]
            seen = features[f, SEEN]
            if seen >= 0:
                present = history[high, seen] - history[low, seen]
        values[row, f] = value_of(features[f, KIND], high - low, present, amount, features[f, SCALE], empty[f])


@kernel
def put(history: I64, row: int, t: int, event_id: int, inputs: I64, event: int, seen: I64) -> None:
    """Write the event ``inputs[:, event]`` into ``row``, and the running sums behind it into the next row."""
    history[row, T], history[row, ID] = t, event_id
    for i in range(inputs.shape[0]):
        value = inputs[i, event]
        history[row + 1, SUMS + i] = history[row, SUMS + i] + (0 if value == NULL else value)
        if seen[i] >= 0:
            history[row + 1, seen[i]] = history[row, seen[i]] + (0 if value == NULL else 1)


@allocating_kernel
def evaluate_states(
    shape: Shape,
    start: I64,
    t: I64,
    ids: I64,
    inputs: I64,
    at_us: I64,
    has_own: NDArray[np.bool_],
    own_t: I64,
    own_id: I64,
    own_inputs: I64,
    values: NDArray[np.float64],
    valid_from: I64,
    valid_until: I64,
    own_state: NDArray[np.int8],
) -> None:
    """Rows from the events that travel with them, each at its own instant and with its own event merged in.

    An own event whose id is among the events already is not counted twice (own_state 1); otherwise it is put in
    its place (own_state 2). valid_from is NULL when nothing has happened up to the instant.
    """
    features, empty, offsets, seen = shape.features, shape.empty, shape.offsets, shape.seen
    longest = 0
    for row in range(at_us.size):
        longest = max(longest, start[row + 1] - start[row])
    history = np.zeros((longest + 2, shape.width), dtype=np.int64)
    at = np.empty(offsets.size, dtype=np.int64)
    for row in range(at_us.size):
        first, last = start[row], start[row + 1]
        merge = has_own[row]
        if merge:
            for k in range(first, last):
                if ids[k] == own_id[row]:
                    merge = False
            own_state[row] = 2 if merge else 1
        n = 0
        for k in range(first, last + 1):
            if merge and (k == last or own_t[row] < t[k] or (own_t[row] == t[k] and own_id[row] < ids[k])):
                put(history, n, own_t[row], own_id[row], own_inputs, row, seen)
                n += 1
                merge = False
            if k < last:
                put(history, n, t[k], ids[k], inputs, k, seen)
                n += 1
        changed, following = NULL, NEVER_US
        for d in range(offsets.size):
            at[d] = upper_bound(history, 0, n, at_us[row] - offsets[d])
            if at[d] > 0:
                changed = max(changed, history[at[d] - 1, T] + offsets[d])
            if at[d] < n:
                following = min(following, history[at[d], T] + offsets[d])
        fill_values(features, empty, at, history, values, row)
        valid_from[row] = changed
        valid_until[row] = following
