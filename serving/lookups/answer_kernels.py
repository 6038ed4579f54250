"""Kernel that writes many answers of one form at once: the texts they share, and what is each one's own between them.

text  hole  text  hole  …  text           a hole: (kind, which)
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64
from feature_store.memory_kernels import copy
from feature_store.plan import NULL

__all__ = ["HOLE_BYTES", "KEY", "NUMBER", "REST", "WHOLE", "write_answers"]

KEY, WHOLE, NUMBER, REST = range(4)
"""An entity's key; a cell that is a whole number; a cell whose text is given; status and time of a view's row."""
HOLE_BYTES = 80
"""No hole takes more."""

_MINUS, _ZERO, _COMMA = 45, 48, 44
_DAY_S, _MICROS = 86_400, 1_000_000
_FIRST_S, _LAST_S = -30_610_224_000, 253_402_300_800
"""The years 1000 to 9999, which have four digits."""
_WHOLE_BELOW = float(2**63)

_PRESENT = np.frombuffer(b'PRESENT"],"event_timestamps":["', np.uint8)
_NOT_FOUND = np.frombuffer(b'NOT_FOUND"],"event_timestamps":["1970-01-01T00:00:00Z', np.uint8)
_NULL = np.frombuffer(b"null", np.uint8)
_PUNCTUATION = np.frombuffer(b"--T::", np.uint8)

_Bytes = NDArray[np.uint8]


@kernel
def _put(out: _Bytes, at: int, data: _Bytes) -> int:
    for i in range(data.size):
        out[at + i] = data[i]
    return at + data.size


@kernel
def _put_digits(out: _Bytes, at: int, number: int, digits: int) -> int:
    for i in range(digits):
        out[at + digits - 1 - i] = _ZERO + number % 10
        number //= 10
    return at + digits


@kernel
def _put_number(out: _Bytes, at: int, number: int) -> int:
    rest = np.uint64(number)
    if number < 0:
        out[at] = _MINUS
        at, rest = at + 1, np.uint64(0) - rest  # the lowest number has no opposite of its own kind
    digits, most = 1, rest
    while most >= np.uint64(10):
        most //= np.uint64(10)
        digits += 1
    for i in range(digits):
        out[at + digits - 1 - i] = np.uint64(_ZERO) + rest % np.uint64(10)
        rest //= np.uint64(10)
    return at + digits


@kernel
def _put_time(out: _Bytes, at: int, instant_us: int) -> int:
    """RFC 3339 with as many decimals as needed, in threes; -1 for a year that has not four digits.

    Day to year, month and day: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    seconds = instant_us // _MICROS
    if not _FIRST_S <= seconds < _LAST_S:
        return -1
    micros, days = instant_us - seconds * _MICROS, seconds // _DAY_S
    second = seconds - days * _DAY_S
    since = days + 719_468
    era = since // 146_097
    of_era = since - era * 146_097
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year += era * 400 + (1 if month <= 2 else 0)
    at = _put_digits(out, at, year, 4)
    for part in range(5):
        out[at] = _PUNCTUATION[part]
        value = month if part == 0 else day if part == 1 else second // 3600 if part == 2 else second // 60 % 60
        at = _put_digits(out, at + 1, value if part < 4 else second % 60, 2)
    if micros != 0:
        out[at] = 46  # "."
        at = _put_digits(out, at + 1, micros // 1000, 3) if micros % 1000 == 0 else _put_digits(out, at + 1, micros, 6)
    out[at] = 90  # "Z"
    return at + 1


@kernel
def _put_rest(out: _Bytes, at: int, valid_from: int) -> int:
    if valid_from == NULL:
        return _put(out, at, _NOT_FOUND)
    return _put_time(out, _put(out, at, _PRESENT), valid_from)


@kernel
def write_answers(
    out: _Bytes,
    ends: I64,
    texts: _Bytes,
    text_ends: I64,
    holes: I64,
    keys: I64,
    valid_from: I64,
    cells: NDArray[np.float64],
    numbers: _Bytes,
    numbers_of: I64,
    token_ends: I64,
    rests: I64,
) -> bool:
    """Write the answers one behind another.

    Args:
        out: room for them; written.
        ends: (n,) where each ends; written.
        texts: one behind another, one more than holes.
        text_ends: where each ends.
        holes: (holes, 2) kind, and number of the key, cell, number or view.
        keys: (n, entities).
        valid_from: (n, V) of each view's row; NULL where there is none.
        cells: (n, W); NaN is null.
        numbers: JSON of one list with the numbers of all answers, as many of each.
        numbers_of: which of an answer's numbers a NUMBER hole has, by cell.
        token_ends, rests: memory to work with, (numbers of an answer + 1,) and (V, 2).

    Returns:
        Whether all could be written.
    """
    each = token_ends.size - 1
    to, text_at, numbers_at = out.ctypes.data, texts.ctypes.data, numbers.ctypes.data
    at, scan = 0, 1  # behind the list's bracket
    for row in range(ends.size):
        for number in range(each):
            token_ends[number] = scan
            while numbers[scan] != _COMMA and scan < numbers.size - 1:
                scan += 1
            scan += 1
        token_ends[each] = scan
        rests[:, 1] = 0
        low = 0
        for hole in range(holes.shape[0]):
            copy(to + at, text_at + low, text_ends[hole] - low)
            at, low = at + text_ends[hole] - low, text_ends[hole]
            kind, which = holes[hole, 0], holes[hole, 1]
            if kind == REST:
                if rests[which, 1] == 0:
                    first = at
                    at = _put_rest(out, at, valid_from[row, which])
                    if at < 0:
                        return False
                    rests[which, 0], rests[which, 1] = first, at
                else:
                    size = rests[which, 1] - rests[which, 0]
                    copy(to + at, to + rests[which, 0], size)
                    at += size
            elif kind == NUMBER:
                number = numbers_of[which]
                size = token_ends[number + 1] - 1 - token_ends[number]
                copy(to + at, numbers_at + token_ends[number], size)
                at += size
            elif kind == KEY:
                at = _put_number(out, at, keys[row, which])
            else:
                value = cells[row, which]
                if value != value:
                    at = _put(out, at, _NULL)
                elif abs(value) < _WHOLE_BELOW:
                    at = _put_number(out, at, int(value))
                else:
                    return False
        copy(to + at, text_at + low, texts.size - low)
        at += texts.size - low
        ends[row] = at
    return True
