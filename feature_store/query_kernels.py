"""Kernels that answer many (key, instant) questions over a table of events: files, training sets, verification.

Events and questions are grouped by key and walked together in time, so an answer costs a step of each edge.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import (
    ENTER,
    I64,
    ID,
    KIND,
    LEAVE,
    SCALE,
    SEEN,
    SUMS,
    TOTAL,
    Shape,
    T,
    fill_values,
    mix64,
    put,
    value_of,
)
from feature_store.plan import NULL

__all__ = ["answer", "arrange", "dense_codes", "first_of_ids", "group_by_code", "is_rising", "last_positions"]


@kernel
def is_rising(first: I64, second: I64) -> bool:
    """Whether the pairs never fall."""
    for k in range(1, first.size):
        if first[k] < first[k - 1] or (first[k] == first[k - 1] and second[k] < second[k - 1]):
            return False
    return True


@kernel
def _table_size(entries: int) -> int:
    size = 64
    while size < 2 * entries:
        size *= 2
    return size


@kernel
def _place(key: int, keys: I64, table: I64) -> np.int64:
    """Place of a key in a table of rows, counted from 1 so that an empty table is zeros (quick to compile)."""
    mask = table.size - 1
    place = mix64(key) & mask
    while table[place] > 0 and keys[table[place] - 1] != key:
        place = (place + 1) & mask
    return place


@allocating_kernel
def first_of_ids(ids: I64) -> NDArray[np.bool_]:
    """Mark the first row of each id."""
    first = np.zeros(ids.size, dtype=np.bool_)
    rising = 0
    while rising < ids.size and (rising == 0 or ids[rising] > ids[rising - 1]):
        first[rising] = True
        rising += 1
    if rising == ids.size:
        return first
    table = np.zeros(_table_size(ids.size), dtype=np.int64)
    for row in range(ids.size):
        place = _place(ids[row], ids, table)
        first[row] = table[place] == 0
        if first[row]:
            table[place] = row + 1
    return first


@allocating_kernel
def last_positions(ids: I64, among: I64) -> I64:
    """Row of ``among`` that holds each id, the last of several; -1 for none."""
    table = np.zeros(_table_size(among.size), dtype=np.int64)
    for row in range(among.size):
        table[_place(among[row], among, table)] = row + 1
    found = np.empty(ids.size, dtype=np.int64)
    for row in range(ids.size):
        found[row] = table[_place(ids[row], among, table)] - 1
    return found


@allocating_kernel
def dense_codes(keys: I64, asked: I64) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Number the distinct keys from 0; codes of ``keys``, of ``asked`` (-1 unknown), and how many there are."""
    table = np.zeros(1024, dtype=np.int64)
    codes, found = np.empty(keys.size, dtype=np.int32), np.empty(asked.size, dtype=np.int32)
    number = 0
    for row in range(keys.size):
        place = _place(keys[row], keys, table)
        if table[place] > 0:
            codes[row] = codes[table[place] - 1]
            continue
        table[place] = row + 1
        codes[row] = number
        number += 1
        if 2 * number > table.size:
            smaller, table = table, np.zeros(4 * table.size, dtype=np.int64)
            for k in range(smaller.size):
                if smaller[k] > 0:
                    table[_place(keys[smaller[k] - 1], keys, table)] = smaller[k]
    for row in range(asked.size):
        place = _place(asked[row], keys, table)
        found[row] = codes[table[place] - 1] if table[place] > 0 else -1
    return codes, found, number


@allocating_kernel
def group_by_code(codes: NDArray[np.int32], order: I64, groups: int) -> tuple[I64, I64]:
    """Rows by code, within one code as in ``order`` (empty: as they come); and where each code begins.

    Rows with code -1 come first, so code c lies at ``starts[c]:starts[c + 1]``.
    """
    starts = np.zeros(groups + 2, dtype=np.int64)
    for row in range(codes.size):
        starts[codes[row] + 2] += 1
    for c in range(1, groups + 2):
        starts[c] += starts[c - 1]
    # starts[c + 1] is now where code c begins; it moves to its end while rows are put there.
    grouped = np.empty(codes.size, dtype=np.int64)
    for k in range(codes.size):
        row = order[k] if order.size else k
        place = codes[row] + 1
        grouped[starts[place]] = row
        starts[place] += 1
    return grouped, starts


@allocating_kernel
def arrange(rows: I64, times: I64, ids: I64, inputs: I64, shape: Shape) -> I64:
    """The history of all keys in one array: the rows in their order, and one more."""
    seen = shape.seen
    history = np.zeros((rows.size + 1, shape.width), dtype=np.int64)
    for k in range(rows.size):
        put(history, k, times[rows[k]], ids[rows[k]], inputs, rows[k], seen)
    return history


@allocating_kernel
def answer(
    shape: Shape,
    groups: int,
    history: I64,
    event_rows: I64,
    event_starts: I64,
    asked_rows: I64,
    asked_starts: I64,
    at_us: I64,
    own_ids: I64,
    arrival: I64,
    input_arrival: I64,
    values: NDArray[np.float64],
) -> None:
    """Values at each asked instant.

    Args:
        history: events grouped by key, of :func:`arrange`.
        event_rows, asked_rows: rows grouped by key and rising in time, groups beginning at ``.._starts``.
        own_ids: (q,) or empty: the event of the row, visible whenever it arrived.
        arrival: (n,) or empty: events are visible from their arrival on.
        input_arrival: (I, n) or (0, 0): values of an input are visible from their arrival on.
    """
    features, empty, offsets = shape.features, shape.empty, shape.offsets
    at = np.empty(offsets.size, dtype=np.int64)
    hides = arrival.size > 0 or input_arrival.size > 0
    peak = np.empty(event_rows.size if hides else 0, dtype=np.int64)
    for code in range(-1, groups):
        start = event_starts[code] if code >= 0 else 0
        end = event_starts[code + 1] if code >= 0 else 0
        if hides:
            _fill_peaks(start, end, event_rows, shape.seen, history, arrival, input_arrival, peak)
        for d in range(offsets.size):
            at[d] = start
        for k in range(asked_starts[code] if code >= 0 else 0, asked_starts[code + 1]):
            row = asked_rows[k]
            now = at_us[row]
            for d in range(offsets.size):
                limit, position = now - offsets[d], at[d]
                while position < end and history[position, T] <= limit:
                    position += 1
                at[d] = position
            fill_values(features, empty, at, history, values, row)
            if hides and at[0] > start and peak[at[0] - 1] > now:
                own = own_ids[row] if own_ids.size else 0
                _hide(
                    features, empty, at, now, own, own_ids.size > 0, event_rows, history,
                    arrival, input_arrival, peak, values, row,
                )  # fmt: skip


@kernel
def _fill_peaks(
    start: int, end: int, rows: I64, seen: I64, history: I64, arrival: I64, input_arrival: I64, peak: I64
) -> None:
    """The latest arrival of anything up to each position: where it is past, nothing is hidden."""
    latest = NULL
    for k in range(start, end):
        if arrival.size:
            latest = max(latest, arrival[rows[k]])
        for i in range(input_arrival.shape[0]):
            if _present(k, seen[i], history):
                latest = max(latest, input_arrival[i, rows[k]])
        peak[k] = latest


@kernel
def _present(k: int, seen: int, history: I64) -> bool:
    return bool(seen < 0 or history[k + 1, seen] != history[k, seen])


@kernel
def _hide(
    features: I64,
    empty: NDArray[np.float64],
    at: I64,
    now: int,
    own: int,
    has_own: bool,
    rows: I64,
    history: I64,
    arrival: I64,
    input_arrival: I64,
    peak: I64,
    values: NDArray[np.float64],
    row: int,
) -> None:
    """Take back from the values what had not arrived at ``now``, though its time had come."""
    for f in range(features.shape[0]):
        low, high = at[features[f, LEAVE]], at[features[f, ENTER]]
        if high == low or peak[high - 1] <= now:
            continue
        total, seen = features[f, TOTAL], features[f, SEEN]
        events, present, amount = high - low, high - low, 0
        if total >= 0:
            amount = history[high, total] - history[low, total]
            if seen >= 0:
                present = history[high, seen] - history[low, seen]
        k = high - 1
        while k >= low and peak[k] > now:
            absent = arrival.size > 0 and arrival[rows[k]] > now and not (has_own and history[k, ID] == own)
            if absent:
                events -= 1
            if total >= 0:
                unknown = absent or (input_arrival.size > 0 and input_arrival[total - SUMS, rows[k]] > now)
                if unknown and _present(k, seen, history):
                    present -= 1
                    amount -= history[k + 1, total] - history[k, total]
            k -= 1
        values[row, f] = value_of(features[f, KIND], events, present, amount, features[f, SCALE], empty[f])
