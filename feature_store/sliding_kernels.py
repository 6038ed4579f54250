"""Windows that slide along one key: what walks a window's events, for many rows without walking each window anew.

    rows        q₁     q₂       q₃          bounds only move on, so between two rows
    window  [═══════)                       what has come is added, and what has left is taken back
               [══════════)
                   [════════════)

Whole numbers can be taken back and leave nothing behind, so values have the bits of a walk. Two kinds have no taking
back. The least and the greatest keep a queue of those that can still become it. A decayed value is rounded at every
step from the oldest event on: it goes on while no event leaves, and is folded anew when one does.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.decay_kernels import bits_of, decay
from feature_store.fold_kernels import (
    DISTINCT,
    FIRST,
    LAST,
    LAST_K,
    MAX,
    MIN,
    MOST_CELLS,
    QUANTILE,
    SINCE_LAST,
    STD,
    add,
    finish,
    remove,
    start,
)
from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import (
    DELAY,
    ENTER,
    GAP,
    HALF_LIFE,
    I64,
    KIND,
    LEAVE,
    PAUSE,
    SCALE,
    SEEN,
    SLOT,
    TOTAL,
    K,
    T,
    present,
)
from feature_store.rank_kernels import most_frequent, ranked

__all__ = ["MANY", "slide", "slides"]

MANY = 256
"""Events of a key from which on its windows may be slid along; fewer are walked as fast, all of them in the cache."""

_WORTH = 32
"""Walks over all events of a stretch that sliding along it once is worth: sorting them costs about as much."""

_RARE = 8
"""Of so many events one has a value."""


@kernel
def slides(features: I64, f: int, at: I64, place: int, count: int, history: I64) -> bool:
    """Whether :func:`slide` is faster than walking the window of each of these rows; arguments as there; O(rows)."""
    kind, enter, leave, seen = features[f, KIND], features[f, ENTER], features[f, LEAVE], features[f, SEEN]
    if leave < 0 or count <= _WORTH:
        return False
    low, high = at[place, leave], at[place + count - 1, enter]
    stretch, walked = high - low, 0
    if kind in (FIRST, LAST, LAST_K, SINCE_LAST) and features[f, PAUSE] < 0:
        # Such a walk is short, but where hardly an event has a value.
        is_rare = seen >= 0 and (history[high, seen] - history[low, seen]) * _RARE <= stretch
        if not is_rare:
            return False
    for row in range(place, place + count):
        walked += at[row, enter] - at[row, leave]
    return bool(walked > _WORTH * stretch)


@allocating_kernel
def slide(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    at: I64,
    place: int,
    count: int,
    history: I64,
    instants: I64,
    values: NDArray[np.float64],
) -> None:
    """Write one feature of rows ``place … place + count - 1``, of one key, by time; bounded windows only.

    Of n rows and m events from the oldest to the newest of them O(n + m), sorting for those that rank values, which
    take O(log m) a row; a decayed value O(events of its window) where events leave. Memory O(n + m).

    Args:
        features, empty: of the Shape.
        f: which feature.
        at: (.., D) row of the first event that has not passed each edge.
        place, count: which rows of ``at``, ``instants`` and ``values``.
        history: the key's events.
        instants: (n,) of each row.
        values: (n, W).
    """
    kind, seen, total = features[f, KIND], features[f, SEEN], features[f, TOTAL]
    begins, ends = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    for row in range(count):
        begins[row], ends[row] = at[place + row, features[f, LEAVE]], at[place + row, features[f, ENTER]]
    low, high = begins[0], ends[count - 1]
    if features[f, PAUSE] >= 0:
        _sessions(history, at, place, features[f, PAUSE], features[f, GAP], begins, ends)
    # From here on the events without a value are not there at all.
    for row in range(count):
        begins[row] = begins[row] - low if seen < 0 else history[begins[row], seen] - history[low, seen]
        ends[row] = ends[row] - low if seen < 0 else history[ends[row], seen] - history[low, seen]
    xs, times = np.empty(high - low, dtype=np.int64), np.empty(high - low, dtype=np.int64)
    number = 0
    for e in range(low, high):
        if present(history, e, seen):
            xs[number] = history[e + 1, total] - history[e, total] if total >= 0 else 1
            times[number] = history[e, T]
            number += 1
    xs, times = xs[:number], times[:number]
    if kind in (MIN, MAX):
        _extremes(features, empty, f, xs, begins, ends, place, values)
    elif kind <= STD:
        _folds(features, empty, f, xs, times, begins, ends, place, values)
    elif kind in (FIRST, LAST, LAST_K, SINCE_LAST):
        _nearest(features, empty, f, xs, times, begins, ends, instants, place, values)
    elif kind < DISTINCT:
        _decayed(features, empty, f, xs, times, begins, ends, instants, place, values)
    elif number == 0:
        for row in range(count):
            for cell in range(features[f, K] if kind > QUANTILE else 1):
                values[place + row, features[f, SLOT] + cell] = (
                    0.0 if kind == DISTINCT else empty[f] if kind == QUANTILE else np.nan
                )
    elif kind <= QUANTILE:
        ranked(features, empty, f, xs, begins, ends, place, values)
    else:
        most_frequent(features, f, xs, begins, ends, place, values)


@kernel
def _sessions(history: I64, at: I64, place: int, pause: int, gap: int, begins: I64, ends: I64) -> None:
    """Move the begin of each window to that of its newest session; to its end when that is over."""
    last = since = begins[0]
    for row in range(begins.size):
        while last < ends[row] - 1:
            last += 1
            if history[last, T] - history[last - 1, T] > gap:
                since = last
        is_over = at[place + row, pause] >= ends[row]
        begins[row] = ends[row] if is_over else min(max(since, begins[row]), ends[row])


@allocating_kernel
def _extremes(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    xs: I64,
    begins: I64,
    ends: I64,
    place: int,
    values: NDArray[np.float64],
) -> None:
    """Least or greatest value: of a queue of values each of which is ahead of all that came later, the first."""
    sign, scale, slot = 1 if features[f, KIND] == MIN else -1, float(features[f, SCALE]), features[f, SLOT]
    queue = np.empty(xs.size, dtype=np.int64)
    head, tail, come = 0, 0, 0
    for row in range(begins.size):
        while come < ends[row]:
            while tail > head and sign * xs[queue[tail - 1]] >= sign * xs[come]:
                tail -= 1
            queue[tail] = come
            tail += 1
            come += 1
        while head < tail and queue[head] < begins[row]:
            head += 1
        values[place + row, slot] = empty[f] if head == tail else float(xs[queue[head]]) / scale


@allocating_kernel
def _folds(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    xs: I64,
    times: I64,
    begins: I64,
    ends: I64,
    place: int,
    values: NDArray[np.float64],
) -> None:
    """Counts, sums and sums of squares."""
    kind, k, slot = features[f, KIND], features[f, K], features[f, SLOT]
    cells = np.zeros((1, MOST_CELLS), dtype=np.int64)
    start(kind, k, cells, 0, 0)
    left, come = 0, 0
    for row in range(begins.size):
        while come < ends[row]:
            add(kind, k, 0, cells, 0, 0, xs[come], times[come])
            come += 1
        while left < begins[row]:
            remove(kind, cells, 0, 0, xs[left])
            left += 1
        finish(kind, k, 0, features[f, SCALE], empty[f], cells, 0, 0, 0, values, place + row, slot)


@allocating_kernel
def _nearest(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    xs: I64,
    times: I64,
    begins: I64,
    ends: I64,
    instants: I64,
    place: int,
    values: NDArray[np.float64],
) -> None:
    """The oldest value, or the newest ones."""
    kind, k, slot = features[f, KIND], features[f, K], features[f, SLOT]
    cells = np.zeros((1, MOST_CELLS), dtype=np.int64)
    for row in range(begins.size):
        start(kind, k, cells, 0, 0)
        newest = ends[row] - (k if kind == LAST_K else 1)
        for e in range(begins[row] if kind == FIRST else max(begins[row], newest), ends[row]):
            add(kind, k, 0, cells, 0, 0, xs[e], times[e])
            if kind == FIRST:
                break
        now = instants[place + row] - features[f, DELAY]
        finish(kind, k, 0, features[f, SCALE], empty[f], cells, 0, 0, now, values, place + row, slot)


@allocating_kernel
def _decayed(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    xs: I64,
    times: I64,
    begins: I64,
    ends: I64,
    instants: I64,
    place: int,
    values: NDArray[np.float64],
) -> None:
    """Decayed sums and means; how much is left from one event to the next is worked out once."""
    kind, half_life, slot = features[f, KIND], features[f, HALF_LIFE], features[f, SLOT]
    kept = np.empty(xs.size, dtype=np.float64)
    for e in range(1, xs.size):
        kept[e] = decay(times[e] - times[e - 1], half_life)
    cells = np.zeros((1, MOST_CELLS), dtype=np.int64)
    begun, come, total, weight = -1, 0, 0.0, 0.0
    for row in range(begins.size):
        if begins[row] != begun:
            begun = come = begins[row]
        for e in range(come, ends[row]):
            if e == begun:
                total, weight = float(xs[e]), 1.0
            else:
                total = total * kept[e] + float(xs[e])
                weight = weight * kept[e] + 1.0
        come = max(come, ends[row])
        cells[0, 0] = come - begun
        if come > begun:
            cells[0, 1], cells[0, 2], cells[0, 3] = times[come - 1], bits_of(total), bits_of(weight)
        now = instants[place + row] - features[f, DELAY]
        finish(kind, 0, half_life, features[f, SCALE], empty[f], cells, 0, 0, now, values, place + row, slot)
