"""What every engine shares: the layout of a key's history, and how a row is made from it.

A history has a row for each event of a key, by (time, id), and one more:

    T          ID         SUMS ..                   then                          then
    time       event id   exact sum of each input   number of non-null values     cells of each lifetime feature
                          over the events before    of each nullable input        (fold_kernels) over the events
                          this row (mod 2^64)       before this row               before this row

so a sum over a window is the difference of two rows, whatever its length, and any order of adding gives the same bits.
What has no inverse walks the window's events (:mod:`feature_store.window_kernels`).

Inside loops kernels index plain arrays only: taking a row as a view, or a field out of a tuple, costs an atomic
count of references each time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.fold_kernels import add, cells_of, kind_code, start
from feature_store.kernel_cache import kernel
from feature_store.plan import NULL, ViewPlan

__all__ = [
    "GRID",
    "I64",
    "ID",
    "SUMS",
    "Shape",
    "T",
    "begin",
    "edge_at",
    "edge_passes",
    "mix64",
    "present",
    "put",
    "refold",
    "shape_of",
    "upper_bound",
]

I64 = NDArray[np.int64]

T, ID, SUMS = 0, 1, 2
"""Columns of a history."""
(
    KIND, INPUT, TOTAL, SEEN, ENTER, LEAVE, PAUSE, GAP, SCALE, SLOT, K, FOLD, RANK_OF, RANK_IN, HALF_LIFE, DELAY,
) = range(16)  # fmt: skip
"""Columns of Shape.features; TOTAL, SEEN and FOLD are columns of a history, ENTER, LEAVE and PAUSE rows of edges."""
SHIFT, GRID, BACK = range(3)
"""Columns of Shape.edges, see headrace.spec.windows.Edge."""


class Shape(NamedTuple):
    """A plan as kernels need it; its sketches are not among the features."""

    features: I64
    """(F, 16) TOTAL is -1 without an input; SEEN for one that is never null: the number of events serves; LEAVE and
    FOLD as ViewPlan says, PAUSE without a session; a quantile's rank is RANK_OF / RANK_IN."""
    empty: NDArray[np.float64]
    """(F,) value when nothing is in the window; NaN is null."""
    edges: I64
    """(D, 3) as in ViewPlan."""
    seen: I64
    """(I,) column of each input's count of non-null values; -1 without."""
    folds: I64
    """(L,) rows of the features whose cells the history keeps."""
    base: int
    """First column of cells in a history."""
    width: int
    """Columns of a history."""
    cells: int
    """W, numbers in a row."""
    needs_scratch: int
    """Whether some feature sorts or counts the values of its window: memory in proportion to it."""


def shape_of(plan: ViewPlan) -> Shape:
    """The kernel side of a plan."""
    inputs, nullable = len(plan.inputs), plan.nullable
    seen = np.full(inputs, -1, dtype=np.int64)
    seen[nullable] = SUMS + inputs + np.arange(int(nullable.sum()))
    base = width = SUMS + inputs + int(nullable.sum())
    entries = [entry for entry in plan.features if not entry.feature.is_sketch]
    features = np.full((len(entries), 16), -1, dtype=np.int64)
    folds = []
    for f, entry in enumerate(entries):
        of, i = entry.feature.aggregation, entry.input_index
        line = features[f]
        line[KIND], line[INPUT], line[K] = kind_code(of.kind), i, of.k
        if i >= 0:
            line[TOTAL], line[SEEN] = SUMS + i, seen[i]
        line[ENTER], line[LEAVE], line[PAUSE] = entry.enter_at, entry.leave_at, entry.pause_at
        line[GAP], line[SLOT] = entry.feature.window.gap_us, entry.slot
        line[SCALE] = plan.inputs[i].scale if i >= 0 else 1
        line[RANK_OF], line[RANK_IN] = of.rank.numerator, of.rank.denominator
        line[HALF_LIFE], line[DELAY] = of.half_life_us, entry.feature.delay_us
        if entry.leave_at < 0:
            folds.append(f)
            line[FOLD] = width
            width += int(cells_of(line[KIND], of.k))
    empty = [np.nan if entry.feature.empty is None else entry.feature.empty for entry in entries]
    return Shape(
        features=features,
        empty=np.array(empty, dtype=np.float64),
        edges=np.array([(edge.shift_us, edge.grid_us, edge.back_us) for edge in plan.edges], dtype=np.int64),
        seen=seen,
        folds=np.array(folds, dtype=np.int64),
        base=base,
        width=width,
        cells=plan.width,
        needs_scratch=int(any(entry.feature.kind in ("distinct", "quantile", "top_k") for entry in entries)),
    )


@kernel
def spread(value: int) -> np.uint64:
    """Spread the bits of a number over 64 bits (SplitMix64, Steele et al. 2014)."""
    mixed = np.uint64(value) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@kernel
def mix64(value: int) -> np.int64:
    """63 of the bits of :func:`spread`."""
    return np.int64(spread(value) >> np.uint64(1))


@kernel
def edge_at(edges: I64, d: int, q: int) -> int:
    """``Edge.at``: events at or before it have passed."""
    shifted: int = q - edges[d, SHIFT]
    grid = edges[d, GRID]
    if grid == 0:
        return shifted
    return int(shifted // grid * grid - edges[d, BACK])


@kernel
def edge_passes(edges: I64, d: int, t: int) -> int:
    """``Edge.passes``: the first instant at which an event at ``t`` has passed."""
    grid = edges[d, GRID]
    if grid == 0:
        return int(t + edges[d, SHIFT])
    return int((t + edges[d, BACK] + grid - 1) // grid * grid + edges[d, SHIFT])


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
def present(history: I64, row: int, seen: int) -> bool:
    """Whether the event of a row has a value, given the column that counts them."""
    return bool(seen < 0 or history[row + 1, seen] != history[row, seen])


@kernel
def begin(history: I64, row: int, features: I64, folds: I64) -> None:
    """The row before any event: sums of nothing."""
    for column in range(SUMS, history.shape[1]):
        history[row, column] = 0
    for place in range(folds.size):
        f = folds[place]
        start(features[f, KIND], features[f, K], history, row, features[f, FOLD])


@kernel
def refold(history: I64, row: int, features: I64, folds: I64) -> None:
    """The lifetime cells behind an event, from those before it."""
    for place in range(folds.size):
        f = folds[place]
        kind, k, column = features[f, KIND], features[f, K], features[f, FOLD]
        for c in range(column, column + cells_of(kind, k)):
            history[row + 1, c] = history[row, c]
        total = features[f, TOTAL]
        if total < 0:
            add(kind, k, features[f, HALF_LIFE], history, row + 1, column, 1, history[row, T])
        elif present(history, row, features[f, SEEN]):
            x = history[row + 1, total] - history[row, total]
            add(kind, k, features[f, HALF_LIFE], history, row + 1, column, x, history[row, T])


@kernel
def put(
    history: I64, row: int, t: int, event_id: int, inputs: I64, event: int, seen: I64, features: I64, folds: I64
) -> None:
    """Write the event ``inputs[:, event]`` into ``row``, and what is before the next one into the next row."""
    history[row, T], history[row, ID] = t, event_id
    for i in range(inputs.shape[0]):
        value = inputs[i, event]
        history[row + 1, SUMS + i] = history[row, SUMS + i] + (0 if value == NULL else value)
        if seen[i] >= 0:
            history[row + 1, seen[i]] = history[row, seen[i]] + (0 if value == NULL else 1)
    if folds.size > 0:
        refold(history, row, features, folds)
