"""Kernels for the state that travels with an online row, in as few bytes as hold it.

Layout and readable reference: :mod:`feature_store.online.state_layout`.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.online.state_layout import HAS_MISSING
from feature_store.plan import MAX_STATE_EVENTS, NULL

__all__ = ["pack_state", "packed_size", "read_size", "unpack_state"]

_WIDTH = 0x0F

_Bytes = NDArray[np.uint8]
_Words = NDArray[np.int64]


@kernel
def packed_size(
    first: int, last: int, times: _Words, ids: _Words, inputs: _Words, cells: int, lows: _Words, widths: _Words
) -> int:
    """Bytes of a state; ``lows`` and ``widths`` are written for :func:`pack_state`.

    Args:
        first, last: its events in the columns.
        times, ids: (1, m).
        inputs: (I, m).
        cells: lifetime cells.
        lows, widths: (3 + I,); the last width is the step of the times, 1, 1,000 or 1,000,000 microseconds.
    """
    size = 8 * (1 + cells)
    if last == first:
        return size
    columns = 2 + inputs.shape[0]
    # In order, so the first is the lowest.
    low, step = times[0, first], 1_000_000
    for k in range(first, last):
        while (times[0, k] - low) % step != 0:
            step //= 1000
    lows[0], widths[0] = low, _bytes_of(np.uint64(times[0, last - 1] - low) // np.uint64(step))
    _measure(ids, 0, first, last, 1, lows, widths)
    for i in range(inputs.shape[0]):
        _measure(inputs, i, first, last, 2 + i, lows, widths)
    widths[columns] = step
    total = 0
    for column in range(columns):
        total += widths[column] & _WIDTH
    whole: int = size + _padded(columns) + 8 * columns + _padded((last - first) * total)
    return whole


@kernel
def pack_state(
    out: _Bytes,
    at: int,
    first: int,
    last: int,
    times: _Words,
    ids: _Words,
    inputs: _Words,
    base: _Words,
    row: int,
    lows: _Words,
    widths: _Words,
) -> int:
    """Write what :func:`packed_size` measured, with the lifetime cells ``base[row]``; the position behind it."""
    events, columns = last - first, 2 + inputs.shape[0]
    step = widths[columns] if events > 0 else 1
    zeros = 6 if step == 1_000_000 else 3 if step == 1000 else 0
    at = _put(out, at, np.uint64(events) | np.uint64(zeros << 32), 8)
    for c in range(base.shape[1]):
        at = _put(out, at, np.uint64(base[row, c]), 8)
    if events == 0:
        return at
    start = at
    for column in range(columns):
        out[at] = widths[column]
        at += 1
    at = _fill_up(out, start, at)
    for column in range(columns):
        at = _put(out, at, np.uint64(lows[column]), 8)
    start = at
    at = _put_column(out, at, times, 0, first, last, lows[0], widths[0], step)
    at = _put_column(out, at, ids, 0, first, last, lows[1], widths[1], 1)
    for i in range(inputs.shape[0]):
        at = _put_column(out, at, inputs, i, first, last, lows[2 + i], widths[2 + i], 1)
    return _fill_up(out, start, at)


@kernel
def read_size(data: _Bytes, words: _Words, at: int, inputs: int, cells: int) -> tuple[int, int]:
    """Bytes that a state at byte ``at`` claims to have, and its events; ``words`` are the same bytes, aligned."""
    events = words[at // 8] & 0xFFFFFFFF
    size = 8 * (1 + cells)
    if events > 0:
        columns, total = 2 + inputs, 0
        if events > MAX_STATE_EVENTS or at + size + columns > data.size:
            return 2**62, 0
        for column in range(columns):
            width = data[at + size + column] & _WIDTH
            if width > 8:
                return 2**62, 0
            total += width
        size += _padded(columns) + 8 * columns + _padded(events * total)
    return size, events


@kernel
def unpack_state(
    data: _Bytes,
    words: _Words,
    at: int,
    start: int,
    row: int,
    base: _Words,
    times: _Words,
    ids: _Words,
    inputs: _Words,
) -> None:
    """Read a state that :func:`read_size` found whole: its cells to ``base[row]``, its events from ``start`` on."""
    events, step = words[at // 8] & 0xFFFFFFFF, 1
    for _ in range((words[at // 8] >> 32) & 0xFF):
        step *= 10
    at += 8
    for c in range(base.shape[1]):
        base[row, c] = words[at // 8]
        at += 8
    if events == 0:
        return
    columns, widths = 2 + inputs.shape[0], at
    lows = (at + _padded(columns)) // 8
    at = 8 * (lows + columns)
    at = _read_column(data, at, events, words[lows], data[widths], step, times, 0, start)
    at = _read_column(data, at, events, words[lows + 1], data[widths + 1], 1, ids, 0, start)
    for i in range(inputs.shape[0]):
        at = _read_column(data, at, events, words[lows + 2 + i], data[widths + 2 + i], 1, inputs, i, start)


@kernel
def _padded(size: int) -> int:
    return (size + 7) & ~7


@kernel
def _bytes_of(most: np.uint64) -> int:
    width, rest = 0, most
    while rest > np.uint64(0):
        width += 1
        rest >>= np.uint64(8)
    return width


@kernel
def _measure(values: _Words, row: int, first: int, last: int, column: int, lows: _Words, widths: _Words) -> None:
    low, high, there, missing = 0, 0, 0, 0
    for k in range(first, last):
        value = values[row, k]
        if value == NULL:
            missing = 1
        elif there == 0:
            low, high, there = value, value, 1
        else:
            low, high = min(low, value), max(high, value)
    lows[column] = low
    most = np.uint64(high) - np.uint64(low)
    widths[column] = _bytes_of(most + np.uint64(there)) | HAS_MISSING if missing else _bytes_of(most)


@kernel
def _put(out: _Bytes, at: int, value: np.uint64, width: int) -> int:
    rest = value
    for i in range(width):
        out[at + i] = rest & np.uint64(0xFF)
        rest >>= np.uint64(8)
    return at + width


@kernel
def _fill_up(out: _Bytes, start: int, at: int) -> int:
    end = start + _padded(at - start)
    for i in range(at, end):
        out[i] = 0
    return end


@kernel
def _put_column(
    out: _Bytes, at: int, values: _Words, row: int, first: int, last: int, low: int, form: int, step: int
) -> int:
    width, offset = form & _WIDTH, np.uint64(1 if form & HAS_MISSING else 0)
    for k in range(first, last):
        value = values[row, k]
        code = np.uint64(0)
        if offset == np.uint64(0) or value != NULL:
            code = (np.uint64(value) - np.uint64(low)) // np.uint64(step) + offset
        at = _put(out, at, code, width)
    return at


@kernel
def _read_column(
    data: _Bytes, at: int, events: int, low: int, form: int, step: int, values: _Words, row: int, start: int
) -> int:
    width, offset = form & _WIDTH, np.uint64(1 if form & HAS_MISSING else 0)
    for k in range(events):
        code = np.uint64(0)
        for i in range(width):
            code |= np.uint64(data[at + i]) << np.uint64(8 * i)
        at += width
        if offset > np.uint64(0) and code == np.uint64(0):
            values[row, start + k] = NULL
        else:
            values[row, start + k] = np.int64(np.uint64(low) + (code - offset) * np.uint64(step))
    return at
