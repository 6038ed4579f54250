"""A scanner for flat JSON objects of known fields: many messages, one buffer, columns out.

It accepts only what it is sure of and says SLOW to everything else; :mod:`streams.formats.message_check` then decides.
So a row it accepts has exactly the values the slow path would give, and it needs no words for what is wrong.

Legend of shapes: F fields, n messages.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.memory_kernels import load_byte, load_int, load_long

__all__ = ["ABSENT", "BOOL", "INT", "LONG_NUMBER", "NULL", "PRESENT", "REAL", "TEXT", "TIME", "scan"]

INT, REAL, TEXT, BOOL, TIME = 0, 1, 2, 3, 4
"""Kinds of fields."""
ABSENT, PRESENT, NULL, LONG_NUMBER = 0, 1, 2, 3
"""Flags of cells. A long number is valid JSON with more digits than can be converted exactly here."""

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]

_NULL_WORD, _TRUE_WORD, _FALS_WORD = (int.from_bytes(word, sys.byteorder) for word in (b"null", b"true", b"fals"))
_POW10 = 10.0 ** np.arange(23)
"""Powers of ten that a float64 holds exactly."""
_EXACT = 2**53
_TENTH = (2**63 - 1) // 10
_EPOCH_DAYS = 719_468
_DAY_US = 86_400_000_000


@kernel
def _skip(i: int, end: int) -> int:
    while i < end and load_byte(i) <= 32:
        byte = load_byte(i)
        if byte != 32 and byte != 10 and byte != 13 and byte != 9:
            break
        i += 1
    return i


@kernel
def _digits(i: int, count: int) -> int:
    """Value of ``count`` digits at ``i``; -1 when one of them is none."""
    value = 0
    for k in range(i, i + count):
        digit = load_byte(k) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@kernel
def _integer(i: int, end: int) -> tuple[int, int]:
    """(end of the number or -1, value); -1 for anything but an integer of 64 bits."""
    negative = i < end and load_byte(i) == 45
    if negative:
        i += 1
    start = i
    value = 0
    while i < end and 48 <= load_byte(i) <= 57:
        digit = load_byte(i) - 48
        if value > _TENTH or (value == _TENTH and digit > 7):
            return -1, 0
        value = value * 10 + digit
        i += 1
    count = i - start
    if count == 0 or (count > 1 and load_byte(start) == 48):
        return -1, 0
    if i < end and (load_byte(i) == 46 or load_byte(i) == 101 or load_byte(i) == 69):
        return -1, 0
    return i, -value if negative else value


@kernel
def _number(i: int, end: int) -> tuple[int, float, bool]:
    """(end of the number or -1, value, whether the value is exact).

    Clinger's fast path: a mantissa below 2**53 times or over a power of ten up to 10**22 is rounded once.
    """
    negative = i < end and load_byte(i) == 45
    if negative:
        i += 1
    start = i
    mantissa, digits, exponent = 0, 0, 0
    while i < end and 48 <= load_byte(i) <= 57:
        if digits < 18:
            mantissa = mantissa * 10 + load_byte(i) - 48
        digits += 1
        i += 1
    if i == start or (i - start > 1 and load_byte(start) == 48):
        return -1, 0.0, False
    if i < end and load_byte(i) == 46:
        i += 1
        point = i
        while i < end and 48 <= load_byte(i) <= 57:
            if digits < 18:
                mantissa = mantissa * 10 + load_byte(i) - 48
            digits += 1
            i += 1
        if i == point:
            return -1, 0.0, False
        exponent = point - i
    if i < end and (load_byte(i) == 101 or load_byte(i) == 69):
        i += 1
        below = i < end and load_byte(i) == 45
        if i < end and (load_byte(i) == 45 or load_byte(i) == 43):
            i += 1
        point, written = i, 0
        while i < end and 48 <= load_byte(i) <= 57:
            if written < 10_000:
                written = written * 10 + load_byte(i) - 48
            i += 1
        if i == point:
            return -1, 0.0, False
        exponent += -written if below else written
    if digits > 18 or mantissa > _EXACT or exponent > 22 or exponent < -22:
        return i, 0.0, False
    value = float(mantissa)
    value = value * _POW10[exponent] if exponent >= 0 else value / _POW10[-exponent]
    return i, -value if negative and mantissa else value, True


@kernel
def _days(year: int, month: int, day: int) -> int:
    """Days since the epoch of a Gregorian date after the year 0; the year begins in March, so the leap day ends it."""
    y = year - 1 if month <= 2 else year
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return y * 365 + y // 4 - y // 100 + y // 400 + of_year - _EPOCH_DAYS


@kernel
def _last_day(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 + ((month + (month >> 3)) & 1)


@kernel
def _instant(i: int, end: int) -> tuple[int, int]:
    """(end after the closing quote or -1, microseconds) of ``2018-04-01T00:00:31.5+02:00"``."""
    if (
        end - i < 21
        or load_byte(i + 4) != 45
        or load_byte(i + 7) != 45
        or load_byte(i + 13) != 58
        or load_byte(i + 16) != 58
    ):
        return -1, 0
    if load_byte(i + 10) != 84 and load_byte(i + 10) != 32:
        return -1, 0
    year, month, day = _digits(i, 4), _digits(i + 5, 2), _digits(i + 8, 2)
    hour, minute, second = _digits(i + 11, 2), _digits(i + 14, 2), _digits(i + 17, 2)
    if year < 1 or month < 1 or month > 12 or day < 1 or hour < 0 or minute < 0 or second < 0:
        return -1, 0
    if hour > 23 or minute > 59 or second > 59:
        return -1, 0
    if day > _last_day(year, month):
        return -1, 0
    days = _days(year, month, day)
    i += 19
    micros = 0
    if load_byte(i) == 46:
        i += 1
        unit = 100_000
        start = i
        while i < end and 48 <= load_byte(i) <= 57:
            micros += (load_byte(i) - 48) * unit
            unit //= 10
            i += 1
        if i == start or i - start > 6:
            return -1, 0
    if i >= end:
        return -1, 0
    shift = 0
    if load_byte(i) == 90:
        i += 1
    elif load_byte(i) == 43 or load_byte(i) == 45:
        if end - i < 7 or load_byte(i + 3) != 58:
            return -1, 0
        hours, minutes = _digits(i + 1, 2), _digits(i + 4, 2)
        if hours < 0 or minutes < 0 or hours > 23 or minutes > 59:
            return -1, 0
        shift = (hours * 60 + minutes) * (60_000_000 if load_byte(i) == 43 else -60_000_000)
        i += 6
    else:
        return -1, 0
    if i >= end or load_byte(i) != 34:
        return -1, 0
    return i + 1, days * _DAY_US + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros - shift


@kernel
def _same(i: int, j: int, size: int) -> bool:
    """Whether the bytes at two addresses are equal, eight at a time."""
    k = 0
    while k + 8 <= size:
        if load_long(i + k) != load_long(j + k):
            return False
        k += 8
    while k < size:
        if load_byte(i + k) != load_byte(j + k):
            return False
        k += 1
    return True


@kernel
def _field(i: int, end: int, names_at: int, bounds: Longs, guess: int) -> tuple[int, int]:
    """(field, end after the closing quote) of the name at ``i``; field -1 when it is none of ours."""
    fields = len(bounds) - 1
    for step in range(fields):
        field = guess + step
        if field >= fields:
            field -= fields
        first = bounds[field]
        size = bounds[field + 1] - first
        if i + size < end and load_byte(i + size) == 34 and _same(i, names_at + first, size):
            return field, i + size + 1
    return -1, i


@kernel
def _value(
    i: int,
    end: int,
    base: int,
    kind: int,
    field: int,
    row: int,
    cells_Fn: Longs,
    reals_Fn: Doubles,
    spans_Fn: Ints,
    flags_Fn: Bytes,
) -> int:
    """Read one value into the columns; returns where it ends, or -1."""
    flags_Fn[field, row] = PRESENT
    if end - i >= 4 and load_int(i) == _NULL_WORD:
        flags_Fn[field, row] = NULL
        return i + 4
    if kind == INT:
        i, cells_Fn[field, row] = _integer(i, end)
        return i
    if kind == REAL:
        start = i
        i, value, exact = _number(i, end)
        reals_Fn[field, row] = value
        if i >= 0 and not exact:
            flags_Fn[field, row] = LONG_NUMBER
            cells_Fn[field, row] = start - base
            spans_Fn[field, row] = i - start
        return i
    if kind == BOOL:
        if end - i >= 4 and load_int(i) == _TRUE_WORD:
            cells_Fn[field, row] = 1
            return i + 4
        if end - i >= 5 and load_int(i) == _FALS_WORD and load_byte(i + 4) == 101:
            cells_Fn[field, row] = 0
            return i + 5
        return -1
    if kind == TIME and (i >= end or load_byte(i) != 34):
        i, cells_Fn[field, row] = _integer(i, end)
        return i
    if i >= end or load_byte(i) != 34:
        return -1
    if kind == TIME:
        i, cells_Fn[field, row] = _instant(i + 1, end)
        return i
    i += 1
    start = i
    while i < end and load_byte(i) != 34:
        if load_byte(i) < 32 or load_byte(i) == 92:
            return -1
        i += 1
    if i >= end:
        return -1
    cells_Fn[field, row] = start - base
    spans_Fn[field, row] = i - start
    return i + 1


@kernel
def scan(
    buf: Bytes,
    bounds: Longs,
    names: Bytes,
    name_bounds: Longs,
    kinds_F: Bytes,
    cells_Fn: Longs,
    reals_Fn: Doubles,
    spans_Fn: Ints,
    flags_Fn: Bytes,
    ok_n: Flags,
) -> None:
    """Read every message of a buffer.

    Args:
        buf: uint8, all messages one after another.
        bounds: int64 (n+1,), message r is ``buf[bounds[r]:bounds[r+1]]``.
        names: uint8, the field names one after another.
        name_bounds: int64 (F+1,).
        kinds_F: INT, REAL, TEXT, BOOL or TIME.
        cells_Fn: int64 out: integers, booleans, times; where a text or a long number starts in ``buf``.
        reals_Fn: float64 out.
        spans_Fn: int32 out: bytes of a text or a long number.
        flags_Fn: uint8 out, zeroed by the caller: ABSENT, PRESENT, NULL, LONG_NUMBER.
        ok_n: bool out: False sends the message down the slow path.
    """
    fields = len(kinds_F)
    base, names_at = buf.ctypes.data, names.ctypes.data
    for row in range(len(bounds) - 1):
        ok_n[row] = False
        end = base + bounds[row + 1]
        i = _skip(base + bounds[row], end)
        if i >= end or load_byte(i) != 123:
            continue
        guess = 0
        while True:
            i = _skip(i + 1, end)
            if i >= end or load_byte(i) != 34:
                break
            field, i = _field(i + 1, end, names_at, name_bounds, guess)
            if field < 0 or flags_Fn[field, row] != ABSENT:
                break
            guess = field + 1 if field + 1 < fields else 0
            i = _skip(i, end)
            if i >= end or load_byte(i) != 58:
                break
            i = _skip(i + 1, end)
            i = _value(i, end, base, kinds_F[field], field, row, cells_Fn, reals_Fn, spans_Fn, flags_Fn)
            if i < 0:
                break
            i = _skip(i, end)
            if i >= end:
                break
            if load_byte(i) == 125:
                ok_n[row] = _skip(i + 1, end) == end
                break
            if load_byte(i) != 44:
                break
