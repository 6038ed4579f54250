"""The values of a row: every feature's window found, and what is in it added up.

Counts, sums, means and shares are differences of two rows of the history. The rest walks the window's events, or takes
the cells a lifetime keeps.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.fold_kernels import (
    COUNT,
    DISTINCT,
    FIRST,
    LAST,
    LAST_K,
    MOST_CELLS,
    QUANTILE,
    SHARE,
    SINCE_LAST,
    SUM,
    add,
    finish,
    start,
)
from feature_store.kernel_cache import kernel
from feature_store.kernels import (
    DELAY,
    ENTER,
    FOLD,
    GAP,
    HALF_LIFE,
    I64,
    INPUT,
    KIND,
    LEAVE,
    PAUSE,
    RANK_IN,
    RANK_OF,
    SCALE,
    SEEN,
    SLOT,
    TOTAL,
    K,
    Shape,
    T,
    mix64,
    present,
)
from feature_store.plan import NULL
from feature_store.sliding_kernels import MANY, slide, slides

__all__ = ["SAFE", "fill_column", "fill_values", "raise_peaks", "scratch_size", "sliding_of"]

SAFE = 9.2e18
"""Below 2**63 by more than rounding."""


@kernel
def scratch_size(events: int, needed: int) -> int:
    """Length of the scratch memory for windows of up to ``events``: cells of one fold, and a table of their values."""
    return MOST_CELLS + (3 * _table_size(events) if needed else 0)


@kernel
def _table_size(values: int) -> int:
    size = 8
    while size < 2 * values:
        size *= 2
    return size


@kernel
def raise_peaks(inputs: I64, peaks: I64) -> None:
    """Remember the largest magnitude of each input: it says when a sum may need more than 64 bits."""
    for i in range(inputs.shape[0]):
        peak = peaks[i]
        for e in range(inputs.shape[1]):
            value = inputs[i, e]
            peak = max(peak, abs(value) if value != NULL else 0)
        peaks[i] = peak


@kernel
def fill_values(
    features: I64,
    empty: NDArray[np.float64],
    at: I64,
    place: int,
    history: I64,
    first: int,
    q: int,
    peaks: I64,
    scratch: I64,
    values: NDArray[np.float64],
    row: int,
) -> None:
    """Write one row of values.

    Args:
        features, empty: of the Shape.
        at: (.., D) row of the first event that has not passed each edge.
        place: which row of ``at``.
        history: the key's events.
        first: row of the oldest of them.
        q: the instant.
        peaks: (I,) largest magnitude of each input.
        scratch: (1, n) of :func:`scratch_size`.
        values: (n, W).
        row: which of the n.
    """
    for f in range(features.shape[0]):
        kind, total, slot = features[f, KIND], features[f, TOTAL], features[f, SLOT]
        if _is_difference(features, f):
            high, leave = at[place, features[f, ENTER]], features[f, LEAVE]
            low = first if leave < 0 else at[place, leave]
            peak = float(peaks[features[f, INPUT]]) if total >= 0 else 0.0
            seen, scale = features[f, SEEN], features[f, SCALE]
            if _sum(kind, total, seen, scale, empty[f], peak, history, low, high, values, row, slot):
                continue
        _fill_cell(features, empty, f, at, place, history, first, q, peaks, scratch, values, row)


_SLIDING = np.empty(0, dtype=np.int64)


def sliding_of(shape: Shape, peaks: I64, events: int) -> I64 | None:
    """What :func:`fill_column` takes where windows of so many events may be worth sliding along.

    None leaves it out of what is compiled: a first start takes 24 s of processor without it, 36 with it.
    """
    bounded = shape.features[shape.features[:, LEAVE] >= 0]
    walks = (bounded[:, KIND] > SHARE) | (bounded[:, PAUSE] >= 0)
    summed = bounded[bounded[:, TOTAL] >= 0, INPUT]
    is_wide = float(peaks[summed].max(initial=0)) * events >= SAFE
    return _SLIDING if events >= MANY and (walks.any() or is_wide) else None


@kernel
def fill_column(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    at: I64,
    place: int,
    count: int,
    history: I64,
    first: int,
    instants: I64,
    peaks: I64,
    scratch: I64,
    values: NDArray[np.float64],
    sliding: I64 | None,
) -> None:
    """Write one feature of rows ``place … place + count - 1``, of one key: what :func:`fill_values` does row by row.

    What a feature is need not be looked up for each of them, which is a third of the time of six features. Long windows
    of many rows are not walked for each of them either, see :mod:`feature_store.sliding_kernels`.

    Args:
        f: which feature.
        at: (n, D) as there, of each row, by time.
        instants: (n,) of each row.
        values: (n, W).
        sliding: of :func:`sliding_of`.
    """
    is_difference = _is_difference(features, f)
    walks = not is_difference or _is_wide(features, f, at, place, count, peaks)
    if sliding is not None and walks and slides(features, f, at, place, count, history):
        slide(features, empty, f, at, place, count, history, instants, values)
        return
    if not is_difference:
        for row in range(place, place + count):
            _fill_cell(features, empty, f, at, row, history, first, instants[row], peaks, scratch, values, row)
        return
    kind, total, seen, scale = features[f, KIND], features[f, TOTAL], features[f, SEEN], features[f, SCALE]
    enter, leave, slot, nothing = features[f, ENTER], features[f, LEAVE], features[f, SLOT], empty[f]
    peak = float(peaks[features[f, INPUT]]) if total >= 0 else 0.0
    for row in range(place, place + count):
        high, low = at[row, enter], first if leave < 0 else at[row, leave]
        if not _sum(kind, total, seen, scale, nothing, peak, history, low, high, values, row, slot):
            _fill_cell(features, empty, f, at, row, history, first, instants[row], peaks, scratch, values, row)


@kernel
def _is_difference(features: I64, f: int) -> bool:
    """Whether a value is what two rows of the history differ by, and both are known."""
    return bool(features[f, KIND] <= SHARE and features[f, FOLD] < 0 and features[f, PAUSE] < 0)


@kernel
def _is_wide(features: I64, f: int, at: I64, place: int, count: int, peaks: I64) -> bool:
    """Whether a sum over a bounded window may need more than 64 bits in some of these rows."""
    enter, leave = features[f, ENTER], features[f, LEAVE]
    if features[f, TOTAL] < 0 or leave < 0:
        return False
    most = float(at[place + count - 1, enter] - at[place, leave])
    return bool(most * float(peaks[features[f, INPUT]]) >= SAFE)


@kernel
def _sum(
    kind: int,
    total: int,
    seen: int,
    scale: int,
    nothing: float,
    peak: float,
    history: I64,
    low: int,
    high: int,
    values: NDArray[np.float64],
    row: int,
    slot: int,
) -> bool:
    """Write the value of a feature of sums; False: the sum may not fit into 64 bits."""
    if total < 0:
        values[row, slot] = float(high - low)
        return True
    amount = history[high, total] - history[low, total]
    if kind == COUNT:
        values[row, slot] = float(amount)
        return True
    there = high - low if seen < 0 else history[high, seen] - history[low, seen]
    if there == 0:
        values[row, slot] = nothing
        return True
    if float(there) * peak < SAFE:
        values[row, slot] = float(amount) / float(scale if kind == SUM else there * scale)
        return True
    return False


@kernel
def _fill_cell(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    at: I64,
    place: int,
    history: I64,
    first: int,
    q: int,
    peaks: I64,
    scratch: I64,
    values: NDArray[np.float64],
    row: int,
) -> None:
    """Write the value of one feature of one row; arguments as of :func:`fill_values`."""
    kind, high = features[f, KIND], at[place, features[f, ENTER]]
    low = first if features[f, LEAVE] < 0 else at[place, features[f, LEAVE]]
    if features[f, PAUSE] >= 0:
        low = _session(history, low, high, at[place, features[f, PAUSE]], features[f, GAP])
    if kind <= SHARE and features[f, FOLD] < 0:
        total = features[f, TOTAL]
        peak = float(peaks[features[f, INPUT]]) if total >= 0 else 0.0
        seen, scale, slot = features[f, SEEN], features[f, SCALE], features[f, SLOT]
        if _sum(kind, total, seen, scale, empty[f], peak, history, low, high, values, row, slot):
            return
    if kind >= DISTINCT:
        _collect(features, empty, f, history, low, high, scratch, values, row)
    else:
        _fold(features, empty, f, history, low, high, q, scratch, values, row)


@kernel
def _session(history: I64, low: int, high: int, pause: int, gap: int) -> int:
    """First event of the session that reaches to ``high``; ``high`` when it is over."""
    if pause >= high or low >= high:
        return high
    k = high - 1
    while k > low and history[k, T] - history[k - 1, T] <= gap:
        k -= 1
    return k


@kernel
def _fold(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    history: I64,
    low: int,
    high: int,
    q: int,
    scratch: I64,
    values: NDArray[np.float64],
    row: int,
) -> None:
    kind, k, half_life, total, seen = (
        features[f, KIND], features[f, K], features[f, HALF_LIFE], features[f, TOTAL], features[f, SEEN],
    )  # fmt: skip
    scale, now, slot = features[f, SCALE], q - features[f, DELAY], features[f, SLOT]
    if features[f, FOLD] >= 0:
        finish(kind, k, half_life, scale, empty[f], history, high, features[f, FOLD], now, values, row, slot)
        return
    start(kind, k, scratch, 0, 0)
    # What only looks at the newest values needs no others.
    if kind in (LAST, LAST_K, SINCE_LAST):
        wanted, e = (k if kind == LAST_K else 1), high
        while e > low and wanted > 0:
            e -= 1
            wanted -= int(present(history, e, seen))
        low = e
    for e in range(low, high):
        if present(history, e, seen):
            x = history[e + 1, total] - history[e, total] if total >= 0 else 1
            add(kind, k, half_life, scratch, 0, 0, x, history[e, T])
            if kind == FIRST:
                break
    finish(kind, k, half_life, scale, empty[f], scratch, 0, 0, now, values, row, slot)


@kernel
def _collect(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    history: I64,
    low: int,
    high: int,
    scratch: I64,
    values: NDArray[np.float64],
    row: int,
) -> None:
    """Aggregations that look at all values of a window together."""
    kind, total, seen, slot = features[f, KIND], features[f, TOTAL], features[f, SEEN], features[f, SLOT]
    scale = float(features[f, SCALE])
    if kind == QUANTILE:
        n = 0
        for e in range(low, high):
            if present(history, e, seen):
                scratch[0, n] = history[e + 1, total] - history[e, total]
                n += 1
        if n == 0:
            values[row, slot] = empty[f]
            return
        rank = (n * features[f, RANK_OF] + features[f, RANK_IN] - 1) // features[f, RANK_IN]
        values[row, slot] = float(_select(scratch, n, rank - 1)) / scale
        return
    size = _table_size(high - low)
    for place in range(size):
        scratch[0, place] = NULL
    number = 0
    for e in range(low, high):
        if present(history, e, seen):
            x = history[e + 1, total] - history[e, total]
            place = int(mix64(x)) & (size - 1)
            while scratch[0, place] != NULL and scratch[0, place] != x:
                place = (place + 1) & (size - 1)
            if scratch[0, place] == NULL:
                scratch[0, place], scratch[0, size + place] = x, 0
                number += 1
            scratch[0, size + place] += 1
            scratch[0, 2 * size + place] = e
    if kind == DISTINCT:
        values[row, slot] = float(number)
        return
    for item in range(features[f, K]):
        best = -1
        for place in range(size):
            if scratch[0, place] != NULL and (best < 0 or _is_ahead(scratch, size, place, best)):
                best = place
        values[row, slot + item] = np.nan
        if best >= 0:
            values[row, slot + item] = float(scratch[0, best]) / scale
            scratch[0, best] = NULL


@kernel
def _is_ahead(scratch: I64, size: int, one: int, other: int) -> bool:
    """Whether a value is more frequent than another; as frequent, but seen later."""
    if scratch[0, size + one] != scratch[0, size + other]:
        return bool(scratch[0, size + one] > scratch[0, size + other])
    return bool(scratch[0, 2 * size + one] > scratch[0, 2 * size + other])


@kernel
def _select(scratch: I64, n: int, rank: int) -> int:
    """The value at place ``rank`` of the first ``n`` in rising order (Hoare's quickselect)."""
    low, high = 0, n - 1
    while low < high:
        pivot = scratch[0, (low + high) // 2]
        i, j = low, high
        while i <= j:
            while scratch[0, i] < pivot:
                i += 1
            while scratch[0, j] > pivot:
                j -= 1
            if i <= j:
                scratch[0, i], scratch[0, j] = scratch[0, j], scratch[0, i]
                i += 1
                j -= 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return int(scratch[0, rank])
