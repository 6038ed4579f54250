"""Aggregations as folds: a few cells that an event is added to, in the order (time, id), and a value made of them.

    start(cells) ─► add(cells, x₁, t₁) ─► add(cells, x₂, t₂) ─► … ─► finish(cells, now)

A bounded window folds the events it holds; a lifetime keeps the cells after every event as columns of the history, and
so needs no event that is older than the retention. Both go through the same steps, hence the same bits.

    kind                     cells
    count                    n
    sum, mean, share         n  Σx (two limbs)
    var, std                 n  Σx (two limbs)  Σx² (three limbs)
    min, max, first, last    x
    last_k                   x₁ … x_k, newest first
    decayed_sum, _mean       n  t of the newest  Σ of weighted x, Σ of weights (bits of doubles)
    since_last               t of the newest

A cell without a value is NULL.
"""

import math

import numpy as np
from numpy.typing import NDArray

from feature_store.decay_kernels import bits_of, decay, number_of
from feature_store.kernel_cache import kernel
from feature_store.plan import NULL
from feature_store.wide_kernels import add_square, add_value, float_of_signed, spread, subtract_square

__all__ = [
    "COUNT",
    "DECAYED_MEAN",
    "DECAYED_SUM",
    "DISTINCT",
    "FIRST",
    "LAST",
    "LAST_K",
    "MAX",
    "MEAN",
    "MIN",
    "MOST_CELLS",
    "QUANTILE",
    "SHARE",
    "SINCE_LAST",
    "STD",
    "SUM",
    "TOP_K",
    "VAR",
    "add",
    "cells_of",
    "finish",
    "kind_code",
    "remove",
    "start",
]

I64 = NDArray[np.int64]

(
    COUNT, SUM, MEAN, SHARE, VAR, STD, MIN, MAX, FIRST, LAST, LAST_K, DECAYED_SUM, DECAYED_MEAN, SINCE_LAST,
    DISTINCT, QUANTILE, TOP_K,
) = range(17)  # fmt: skip
_CODES = {
    "count": COUNT,
    "sum": SUM,
    "mean": MEAN,
    "share": SHARE,
    "var": VAR,
    "std": STD,
    "min": MIN,
    "max": MAX,
    "first": FIRST,
    "last": LAST,
    "last_k": LAST_K,
    "decayed_sum": DECAYED_SUM,
    "decayed_mean": DECAYED_MEAN,
    "since_last": SINCE_LAST,
    "distinct": DISTINCT,
    "quantile": QUANTILE,
    "top_k": TOP_K,
}
MOST_CELLS = 64


def kind_code(kind: str) -> int:
    """Number of a kind, as kernels know it."""
    return _CODES[kind]


@kernel
def cells_of(kind: int, k: int) -> int:
    """How many cells a kind needs."""
    if kind in (SUM, MEAN, SHARE):
        return 3
    if kind in (VAR, STD):
        return 6
    if kind in (DECAYED_SUM, DECAYED_MEAN):
        return 4
    return k if kind == LAST_K else 1


@kernel
def start(kind: int, k: int, cells: I64, row: int, column: int) -> None:
    """Cells of no events."""
    empty = NULL if (MIN <= kind <= LAST_K) or kind == SINCE_LAST else 0
    for c in range(cells_of(kind, k)):
        cells[row, column + c] = empty


@kernel
def add(kind: int, k: int, half_life_us: int, cells: I64, row: int, column: int, x: int, t: int) -> None:
    """Add a value that is there; it comes after all before it in the order (time, id)."""
    if kind == COUNT:
        cells[row, column] += x
    elif kind <= STD:
        cells[row, column] += 1
        add_value(cells, row, column + 1, x)
        if kind >= VAR:
            add_square(cells, row, column + 3, x)
    elif kind == MIN:
        if cells[row, column] == NULL or x < cells[row, column]:
            cells[row, column] = x
    elif kind == MAX:
        if x > cells[row, column]:
            cells[row, column] = x
    elif kind == FIRST:
        if cells[row, column] == NULL:
            cells[row, column] = x
    elif kind == LAST:
        cells[row, column] = x
    elif kind == LAST_K:
        for c in range(k - 1, 0, -1):
            cells[row, column + c] = cells[row, column + c - 1]
        cells[row, column] = x
    elif kind == SINCE_LAST:
        cells[row, column] = t
    else:
        total, weight = float(x), 1.0
        if cells[row, column] > 0:
            left = decay(t - cells[row, column + 1], half_life_us)
            total = number_of(cells[row, column + 2]) * left + total
            weight = number_of(cells[row, column + 3]) * left + weight
        cells[row, column] += 1
        cells[row, column + 1] = t
        cells[row, column + 2], cells[row, column + 3] = bits_of(total), bits_of(weight)


@kernel
def remove(kind: int, cells: I64, row: int, column: int, x: int) -> None:
    """Take back a value that was added, of a kind up to STD: of whole numbers nothing stays behind."""
    if kind == COUNT:
        cells[row, column] -= x
        return
    cells[row, column] -= 1
    add_value(cells, row, column + 1, -x)
    if kind >= VAR:
        subtract_square(cells, row, column + 3, x)


@kernel
def finish(
    kind: int,
    k: int,
    half_life_us: int,
    scale: int,
    empty: float,
    cells: I64,
    row: int,
    column: int,
    now: int,
    values: NDArray[np.float64],
    out: int,
    slot: int,
) -> None:
    """Write the value of the cells at the instant ``now`` (the delay taken off) into ``values[out, slot:]``."""
    head = cells[row, column]
    value = empty
    if kind == COUNT:
        value = float(head)
    elif kind <= SHARE:
        if head > 0:
            total = float_of_signed(cells, row, column + 1)
            value = total / float(scale) if kind == SUM else total / float(head * scale)
    elif kind <= STD:
        if head > k:
            value = spread(cells, row, column) / float(head * (head - k)) / (float(scale) * float(scale))
            value = math.sqrt(value) if kind == STD else value
    elif kind == LAST_K:
        for c in range(k):
            x = cells[row, column + c]
            values[out, slot + c] = float(x) / float(scale) if x != NULL else np.nan
        return
    elif kind == SINCE_LAST:
        if head != NULL:
            value = float(now - head) / 1e6
    elif kind == DECAYED_SUM:
        if head > 0:
            left = decay(now - cells[row, column + 1], half_life_us)
            value = number_of(cells[row, column + 2]) * left / float(scale)
    elif kind == DECAYED_MEAN:
        if head > 0:
            value = number_of(cells[row, column + 2]) / number_of(cells[row, column + 3]) / float(scale)
    elif head != NULL:
        value = float(head) / float(scale)
    values[out, slot] = value
