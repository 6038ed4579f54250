"""What every engine shares: how a value is made from running sums.

Events of one key lie next to each other, by (time, id). ``total[i, k]`` is the exact sum of input ``i`` over the
events before position ``k`` (``seen[.., k]`` the number of its non-null values), so a window between two positions
is two differences, whatever its length, and any order of adding gives the same bits.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.plan import COUNT, NEVER_US, NULL, SUM, ViewPlan

__all__ = ["I64", "Shape", "evaluate_states", "fill_values", "kernel", "mix64", "shape_of", "upper_bound"]

I64 = NDArray[np.int64]


class Shape(NamedTuple):
    """The arrays of a plan that kernels need; meanings as in ViewPlan."""

    kind: NDArray[np.int8]
    input_index: NDArray[np.int32]
    scale: I64
    empty: NDArray[np.float64]
    offsets: I64
    enter_at: NDArray[np.int32]
    leave_at: NDArray[np.int32]
    seen_row: I64
    """(I,) row of a nullable input in ``seen``; -1: never null, so the number of events serves."""


def shape_of(plan: ViewPlan) -> Shape:
    """The kernel side of a plan."""
    seen_row = np.full(len(plan.inputs), -1, dtype=np.int64)
    seen_row[plan.nullable] = np.arange(int(plan.nullable.sum()))
    return Shape(
        kind=plan.kind,
        input_index=plan.input_index,
        scale=plan.scale,
        empty=plan.empty,
        offsets=plan.offsets,
        enter_at=plan.enter_at,
        leave_at=plan.leave_at,
        seen_row=seen_row,
    )


@kernel
def mix64(value: int) -> np.int64:
    """Spread the bits of a number over 63 bits (SplitMix64, Steele et al. 2014)."""
    mixed = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1))


@kernel
def upper_bound(values: I64, start: int, end: int, limit: int) -> int:
    """First position in ``[start, end)`` whose value is above ``limit``; ``end`` if there is none."""
    if start == end or values[end - 1] <= limit:
        return end
    low, high = start, end - 1
    while low < high:
        middle = (low + high) >> 1
        if values[middle] <= limit:
            low = middle + 1
        else:
            high = middle
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
def fill_values(shape: Shape, at: I64, total: I64, seen: I64, out: NDArray[np.float64]) -> None:
    """Write the values of one row.

    Args:
        at: (D,) position of the first event above ``q - offset``, for each offset of the plan.
        total: (I, ...) running sums.
        seen: (J, ...) running counts of non-null values, nullable inputs only.
        out: (F,) the row.
    """
    for f in range(shape.kind.size):
        low, high = at[shape.leave_at[f]], at[shape.enter_at[f]]
        events = high - low
        present, amount = events, 0
        i = shape.input_index[f]
        if i >= 0:
            amount = total[i, high] - total[i, low]
            row = shape.seen_row[i]
            if row >= 0:
                present = seen[row, high] - seen[row, low]
        out[f] = value_of(shape.kind[f], events, present, amount, shape.scale[f], shape.empty[f])


@kernel
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
    longest = 0
    for row in range(at_us.size):
        longest = max(longest, start[row + 1] - start[row])
    times = np.empty(longest + 1, dtype=np.int64)
    total = np.zeros((inputs.shape[0], longest + 2), dtype=np.int64)
    seen = np.zeros((inputs.shape[0], longest + 2), dtype=np.int64)
    at = np.empty(shape.offsets.size, dtype=np.int64)
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
            if merge and (k == last or (own_t[row], own_id[row]) < (t[k], ids[k])):
                times[n] = own_t[row]
                for i in range(inputs.shape[0]):
                    _add(own_inputs[i, row], i, shape.seen_row[i], n, total, seen)
                n += 1
                merge = False
            if k < last:
                times[n] = t[k]
                for i in range(inputs.shape[0]):
                    _add(inputs[i, k], i, shape.seen_row[i], n, total, seen)
                n += 1
        changed, following = NULL, NEVER_US
        for d in range(shape.offsets.size):
            offset = shape.offsets[d]
            at[d] = upper_bound(times, 0, n, at_us[row] - offset)
            if at[d] > 0:
                changed = max(changed, times[at[d] - 1] + offset)
            if at[d] < n:
                following = min(following, times[at[d]] + offset)
        fill_values(shape, at, total, seen, values[row])
        valid_from[row] = changed
        valid_until[row] = following


@kernel
def _add(value: int, i: int, row: int, n: int, total: I64, seen: I64) -> None:
    total[i, n + 1] = total[i, n] + (0 if value == NULL else value)
    if row >= 0:
        seen[row, n + 1] = seen[row, n] + (0 if value == NULL else 1)
