"""Kernels that answer many (key, instant) questions over a table of events: files, training sets, verification.

Events and questions are grouped by key and walked together in time, so an answer costs a step of each edge.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64, Shape, fill_values, mix64, value_of
from feature_store.plan import NULL

__all__ = ["answer", "dense_codes", "first_of_ids", "group_by_code", "is_rising", "last_positions", "running_sums"]


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
def first_of_ids(ids: I64) -> NDArray[np.bool_]:
    """Mark the first row of each id."""
    first = np.ones(ids.size, dtype=np.bool_)
    rising = True
    for k in range(1, ids.size):
        if ids[k] <= ids[k - 1]:
            rising = False
            break
    if rising:
        return first
    table = np.full(_table_size(ids.size), -1, dtype=np.int64)
    mask = table.size - 1
    for row in range(ids.size):
        place = mix64(ids[row]) & mask
        while table[place] >= 0 and ids[table[place]] != ids[row]:
            place = (place + 1) & mask
        if table[place] >= 0:
            first[row] = False
        else:
            table[place] = row
    return first


@kernel
def last_positions(ids: I64, among: I64) -> I64:
    """Row of ``among`` that holds each id, the last of several; -1 for none."""
    table = np.full(_table_size(among.size), -1, dtype=np.int64)
    mask = table.size - 1
    for row in range(among.size):
        place = mix64(among[row]) & mask
        while table[place] >= 0 and among[table[place]] != among[row]:
            place = (place + 1) & mask
        table[place] = row
    found = np.empty(ids.size, dtype=np.int64)
    for row in range(ids.size):
        place = mix64(ids[row]) & mask
        while table[place] >= 0 and among[table[place]] != ids[row]:
            place = (place + 1) & mask
        found[row] = table[place]
    return found


@kernel
def dense_codes(keys: I64, asked: I64) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Number the distinct keys from 0; codes of ``keys``, of ``asked`` (-1 unknown), and how many there are."""
    table = np.full(1024, -1, dtype=np.int32)
    distinct = np.empty(512, dtype=np.int64)
    number = 0
    codes = np.empty(keys.size, dtype=np.int32)
    for row in range(keys.size):
        mask = table.size - 1
        place = mix64(keys[row]) & mask
        while table[place] >= 0 and distinct[table[place]] != keys[row]:
            place = (place + 1) & mask
        if table[place] < 0:
            if number == distinct.size:
                larger = np.empty(2 * number, dtype=np.int64)
                larger[:number] = distinct
                distinct = larger
                table = np.full(4 * number, -1, dtype=np.int32)
                mask = table.size - 1
                for code in range(number):
                    place = mix64(distinct[code]) & mask
                    while table[place] >= 0:
                        place = (place + 1) & mask
                    table[place] = code
                place = mix64(keys[row]) & mask
                while table[place] >= 0:
                    place = (place + 1) & mask
            table[place] = number
            distinct[number] = keys[row]
            number += 1
        codes[row] = table[place]
    found = np.empty(asked.size, dtype=np.int32)
    mask = table.size - 1
    for row in range(asked.size):
        place = mix64(asked[row]) & mask
        while table[place] >= 0 and distinct[table[place]] != asked[row]:
            place = (place + 1) & mask
        found[row] = table[place]
    return codes, found, number


@kernel
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


@kernel
def running_sums(shape: Shape, rows: I64, inputs: I64, nullable: int) -> tuple[I64, I64]:
    """(I, n + 1) sums and (J, n + 1) non-null counts before each of the ordered rows."""
    total = np.zeros((inputs.shape[0], rows.size + 1), dtype=np.int64)
    seen = np.zeros((nullable, rows.size + 1), dtype=np.int64)
    for i in range(inputs.shape[0]):
        j = shape.seen_row[i]
        for k in range(rows.size):
            value = inputs[i, rows[k]]
            total[i, k + 1] = total[i, k] + (0 if value == NULL else value)
            if j >= 0:
                seen[j, k + 1] = seen[j, k] + (0 if value == NULL else 1)
    return total, seen


@kernel
def answer(
    shape: Shape,
    groups: int,
    event_rows: I64,
    event_starts: I64,
    times: I64,
    ids: I64,
    total: I64,
    seen: I64,
    asked_rows: I64,
    asked_starts: I64,
    at_us: I64,
    own_ids: I64,
    arrival: I64,
    input_arrival: I64,
    out: NDArray[np.float64],
) -> None:
    """Values at each asked instant.

    Args:
        event_rows, asked_rows: rows grouped by key and rising in time, groups beginning at ``.._starts``.
        own_ids: (q,) or empty: the event of the row, visible whenever it arrived.
        arrival: (n,) or empty: events are visible from their arrival on.
        input_arrival: (I, n) or (0, 0): values of an input are visible from their arrival on.
    """
    at = np.empty(shape.offsets.size, dtype=np.int64)
    t = np.empty(event_rows.size, dtype=np.int64)
    for k in range(event_rows.size):
        t[k] = times[event_rows[k]]
    hides = arrival.size > 0 or input_arrival.size > 0
    peak = np.empty(event_rows.size if hides else 0, dtype=np.int64)
    for code in range(-1, groups):
        start = event_starts[code] if code >= 0 else 0
        end = event_starts[code + 1] if code >= 0 else 0
        if hides:
            _fill_peaks(start, end, event_rows, shape, seen, arrival, input_arrival, peak)
        at[:] = start
        asked_start = asked_starts[code] if code >= 0 else 0
        for q in range(asked_start, asked_starts[code + 1]):
            row = asked_rows[q]
            now = at_us[row]
            for d in range(shape.offsets.size):
                limit = now - shape.offsets[d]
                k = at[d]
                while k < end and t[k] <= limit:
                    k += 1
                at[d] = k
            fill_values(shape, at, total, seen, out[row])
            if hides and at[0] > start and peak[at[0] - 1] > now:
                own = own_ids[row] if own_ids.size else NULL
                _hide(
                    shape, at, now, own, own_ids.size > 0, event_rows, ids, total, seen,
                    arrival, input_arrival, peak, out[row],
                )  # fmt: skip


@kernel
def _fill_peaks(
    start: int, end: int, rows: I64, shape: Shape, seen: I64, arrival: I64, input_arrival: I64, peak: I64
) -> None:
    """The latest arrival of anything up to each position: where it is past, nothing is hidden."""
    latest = NULL
    for k in range(start, end):
        if arrival.size:
            latest = max(latest, arrival[rows[k]])
        for i in range(input_arrival.shape[0]):
            if _present(i, k, shape, seen):
                latest = max(latest, input_arrival[i, rows[k]])
        peak[k] = latest


@kernel
def _present(i: int, k: int, shape: Shape, seen: I64) -> bool:
    j = shape.seen_row[i]
    return bool(j < 0 or seen[j, k + 1] != seen[j, k])


@kernel
def _hide(
    shape: Shape,
    at: I64,
    now: int,
    own: int,
    has_own: bool,
    rows: I64,
    ids: I64,
    total: I64,
    seen: I64,
    arrival: I64,
    input_arrival: I64,
    peak: I64,
    out: NDArray[np.float64],
) -> None:
    """Take back from the values what had not arrived at ``now``, though its time had come."""
    for f in range(shape.kind.size):
        low, high = at[shape.leave_at[f]], at[shape.enter_at[f]]
        if high == low or peak[high - 1] <= now:
            continue
        i = shape.input_index[f]
        events, present, amount = high - low, high - low, 0
        if i >= 0:
            amount = total[i, high] - total[i, low]
            if shape.seen_row[i] >= 0:
                present = seen[shape.seen_row[i], high] - seen[shape.seen_row[i], low]
        k = high - 1
        while k >= low and peak[k] > now:
            row = rows[k]
            absent = arrival.size > 0 and arrival[row] > now and not (has_own and ids[row] == own)
            if absent:
                events -= 1
            unknown = absent or (i >= 0 and input_arrival.size > 0 and input_arrival[i, row] > now)
            if i >= 0 and unknown and _present(i, k, shape, seen):
                present -= 1
                amount -= total[i, k + 1] - total[i, k]
            k -= 1
        out[f] = value_of(shape.kind[f], events, present, amount, shape.scale[f], shape.empty[f])
