"""Avro bodies to columns: one loop that follows the program of a writer's schema.

Every read is checked against the end of its message, every step counts against a budget that grows with the message's
size, and what waits for a return or a next item lies on a stack of fixed depth: no bytes can make it read elsewhere,
run for long, or ask for memory.

Legend of shapes: F fields, n messages, m messages of this schema.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel

__all__ = [
    "ABSENT",
    "BAD_BOOLEAN",
    "BAD_BRANCH",
    "BAD_LENGTH",
    "BAD_NUMBER",
    "BAD_SYMBOL",
    "BLOCK",
    "BOOLEAN",
    "CALL",
    "CODE",
    "CUT",
    "DECIMAL",
    "DOUBLE",
    "EMPTY_BLOCK",
    "END",
    "FINE",
    "FLOAT",
    "JUMP",
    "LEFT_OVER",
    "LONG",
    "LONG_REAL",
    "NEXT",
    "NULL",
    "PRESENT",
    "REFUSE",
    "RETURN",
    "SKIP_BOOLEAN",
    "SKIP_BYTES",
    "SKIP_ENUM",
    "SKIP_FIXED",
    "SKIP_LONG",
    "SPENT",
    "TEXT",
    "TOO_DEEP",
    "TOO_MANY_DIGITS",
    "UNION",
    "WRONG_BRANCH",
    "read_ids",
    "read_records",
]

CODE = 4
"""Numbers of an instruction: what, field, and two more."""
(
    END,
    LONG,
    LONG_REAL,
    FLOAT,
    DOUBLE,
    DECIMAL,
    TEXT,
    BOOLEAN,
    SKIP_BOOLEAN,
    NULL,
    REFUSE,
    UNION,
    JUMP,
    CALL,
    RETURN,
    BLOCK,
    EMPTY_BLOCK,
    NEXT,
    SKIP_LONG,
    SKIP_BYTES,
    SKIP_FIXED,
    SKIP_ENUM,
) = range(22)
"""Instructions, see :mod:`streams.formats.avro_program`."""

ABSENT, PRESENT = 0, 1
"""Flags of cells; NULL, the instruction, is the third."""
(
    FINE,
    CUT,
    BAD_NUMBER,
    BAD_LENGTH,
    BAD_BRANCH,
    BAD_BOOLEAN,
    BAD_SYMBOL,
    TOO_DEEP,
    SPENT,
    LEFT_OVER,
    WRONG_BRANCH,
    TOO_MANY_DIGITS,
) = range(12)
"""What became of a message; the last two say where in words and fields, the others in bytes."""

_HEADER_BYTES = 5
_STEPS_PER_BYTE, _STEPS_PER_LEVEL = 32, 2
"""Between two bytes lie at most as many returns as a message may be deep, and as many calls, so none in order needs
more: a second fence, should the first, that a value without bytes takes no step, have a hole."""
_EXACT = 2**53
_FAR = 2**62
_POW10 = 10.0 ** np.arange(23)
"""Powers of ten that a float64 holds exactly."""

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]


@kernel
def _long(buf: Bytes, i: int, end: int) -> tuple[int, int, int]:
    """(position after it, value, FINE or what is wrong) of a zigzag number of variable length."""
    if i < end and buf[i] < 128:
        byte = int(buf[i])
        return i + 1, (byte >> 1) ^ -(byte & 1), FINE
    raw = np.uint64(0)
    shift = np.uint64(0)
    while i < end:
        byte_u = np.uint64(buf[i])
        # The tenth byte holds the 64th bit and no more.
        if shift == np.uint64(63) and byte_u > np.uint64(1):
            return i, 0, BAD_NUMBER
        raw |= (byte_u & np.uint64(127)) << shift
        i += 1
        if byte_u < np.uint64(128):
            half, sign = np.int64(raw >> np.uint64(1)), np.int64(raw & np.uint64(1))
            return i, int(half) ^ -int(sign), FINE
        shift += np.uint64(7)
    return i, 0, CUT


@kernel
def _little(buf: Bytes, i: int, count: int) -> np.uint64:
    raw = np.uint64(0)
    for k in range(count):
        raw |= np.uint64(buf[i + k]) << np.uint64(8 * k)
    return raw


@kernel
def _span(buf: Bytes, i: int, end: int) -> tuple[int, int, int]:
    """(start, size, FINE or what is wrong) of bytes led by their size."""
    i, size, wrong = _long(buf, i, end)
    if wrong != FINE:
        return i, 0, wrong
    if size < 0:
        return i, 0, BAD_LENGTH
    if size > end - i:
        return i, 0, CUT
    return i, size, FINE


@kernel
def _decimal(buf: Bytes, i: int, size: int, scale: int) -> tuple[float, bool]:
    """(value, whether it is exact) of a big-endian whole number over a power of ten; one rounding."""
    if size > 8 or scale > 22:
        return 0.0, False
    whole = np.int64(0)
    if size > 0 and buf[i] >= 128:
        whole = np.int64(-1)
    for k in range(size):
        whole = (whole << 8) | np.int64(buf[i + k])
    if whole > _EXACT or whole < -_EXACT:
        return 0.0, False
    return float(whole) / _POW10[scale], True


@kernel
def _record(
    buf: Bytes,
    i: int,
    end: int,
    program: Longs,
    stack: Longs,
    row: int,
    cells_Fn: Longs,
    reals_Fn: Doubles,
    spans_Fn: Ints,
    flags_Fn: Bytes,
) -> tuple[int, int]:
    """(FINE or what is wrong, where; for WRONG_BRANCH the number of its words)."""
    pc = 0
    depth = 0
    steps = len(program) + (_STEPS_PER_BYTE + _STEPS_PER_LEVEL * len(stack)) * (end - i) + 64
    while True:
        steps -= 1
        if steps < 0:
            return SPENT, i
        op, field, x, y = program[pc, 0], program[pc, 1], program[pc, 2], program[pc, 3]
        pc += 1
        wrong = FINE
        if op == LONG:
            i, value, wrong = _long(buf, i, end)
            if x == 1 and (value > 2147483647 or value < -2147483648):
                wrong = BAD_NUMBER
            if y != 1:
                if value > _FAR // y:
                    value = _FAR
                elif value < -(_FAR // y):
                    value = -_FAR
                else:
                    value *= y
            cells_Fn[field, row] = value
            flags_Fn[field, row] = PRESENT
        elif op == DOUBLE:
            if end - i < 8:
                return CUT, i
            reals_Fn[field, row] = np.uint64(_little(buf, i, 8)).view(np.float64)
            flags_Fn[field, row] = PRESENT
            i += 8
        elif op == UNION:
            i, value, wrong = _long(buf, i, end)
            if wrong == FINE:
                if value < 0 or value >= x:
                    return BAD_BRANCH, i
                pc = program[pc + value, 2]
        elif op == NULL:
            flags_Fn[field, row] = NULL
        elif op == JUMP:
            pc = x
        elif op == TEXT:
            i, size, wrong = _span(buf, i, end)
            cells_Fn[field, row] = i
            spans_Fn[field, row] = size
            flags_Fn[field, row] = PRESENT
            i += size
        elif op == END:
            return (FINE, i) if i == end else (LEFT_OVER, i)
        elif BOOLEAN <= op <= SKIP_BOOLEAN:
            if i >= end:
                return CUT, i
            if buf[i] > 1:
                return BAD_BOOLEAN, i
            if op == BOOLEAN:
                cells_Fn[field, row] = buf[i]
                flags_Fn[field, row] = PRESENT
            i += 1
        elif op == LONG_REAL:
            i, value, wrong = _long(buf, i, end)
            if x == 1 and (value > 2147483647 or value < -2147483648):
                wrong = BAD_NUMBER
            reals_Fn[field, row] = float(value)
            flags_Fn[field, row] = PRESENT
        elif op == FLOAT:
            if end - i < 4:
                return CUT, i
            reals_Fn[field, row] = np.float64(np.uint32(_little(buf, i, 4)).view(np.float32))
            flags_Fn[field, row] = PRESENT
            i += 4
        elif op == DECIMAL:
            if x < 0:
                i, size, wrong = _span(buf, i, end)
                if wrong != FINE:
                    return wrong, i
            else:
                size = x
                if size > end - i:
                    return CUT, i
            reals_Fn[field, row], exact = _decimal(buf, i, size, y)
            if not exact:
                return TOO_MANY_DIGITS, field
            flags_Fn[field, row] = PRESENT
            i += size
        elif op == SKIP_LONG:
            i, value, wrong = _long(buf, i, end)
        elif op == SKIP_BYTES:
            i, size, wrong = _span(buf, i, end)
            i += size
        elif op == SKIP_FIXED:
            if x > end - i:
                return CUT, i
            i += x
        elif op == SKIP_ENUM:
            i, value, wrong = _long(buf, i, end)
            if wrong == FINE and (value < 0 or value >= x):
                return BAD_SYMBOL, i
        elif BLOCK <= op <= EMPTY_BLOCK:
            i, value, wrong = _long(buf, i, end)
            if wrong == FINE and value < 0:
                i, size, wrong = _span(buf, i, end)
                i += size
                pc -= 1
            elif wrong == FINE and value == 0:
                pc = x
            elif wrong == FINE and op == EMPTY_BLOCK:
                pc -= 1
            elif wrong == FINE:
                if depth >= len(stack):
                    return TOO_DEEP, i
                stack[depth] = value
                depth += 1
        elif op == NEXT:
            stack[depth - 1] -= 1
            if stack[depth - 1] > 0:
                pc = x + 1
            else:
                depth -= 1
                pc = x
        elif op == CALL:
            if depth >= len(stack):
                return TOO_DEEP, i
            stack[depth] = pc
            depth += 1
            pc = x
        elif op == RETURN:
            depth -= 1
            pc = stack[depth]
        else:
            return WRONG_BRANCH, x
        if wrong != FINE:
            return wrong, i


@kernel
def read_ids(buf: Bytes, bounds: Longs, ids_n: Longs) -> None:
    """Schema id of every message: a zero byte and four bytes, the highest first; -1 when there is none."""
    for row in range(len(bounds) - 1):
        i = bounds[row]
        ids_n[row] = -1
        if bounds[row + 1] - i >= _HEADER_BYTES and buf[i] == 0:
            ids_n[row] = (
                (np.int64(buf[i + 1]) << 24)
                | (np.int64(buf[i + 2]) << 16)
                | (np.int64(buf[i + 3]) << 8)
                | np.int64(buf[i + 4])
            )


@kernel
def read_records(
    buf: Bytes,
    bounds: Longs,
    rows_m: Longs,
    program: Longs,
    stack: Longs,
    cells_Fn: Longs,
    reals_Fn: Doubles,
    spans_Fn: Ints,
    flags_Fn: Bytes,
    states_n: Bytes,
    places_n: Longs,
) -> None:
    """Read the messages of one schema.

    Args:
        buf: uint8, all messages one after another.
        bounds: int64 (n+1,), message r is ``buf[bounds[r]:bounds[r+1]]``.
        rows_m: messages of this schema.
        program: int64 (instructions, CODE).
        stack: int64 (deep,), scratch; so many records, arrays and maps may stand in each other.
        cells_Fn: int64 out: integers, booleans, times; where a text starts in ``buf``.
        reals_Fn: float64 out.
        spans_Fn: int32 out: bytes of a text.
        flags_Fn: uint8 out, zeroed by the caller: ABSENT, PRESENT, NULL.
        states_n: uint8 out: FINE or what is wrong.
        places_n: int64 out: byte of the message, or number of the words, see the states.
    """
    for m in range(len(rows_m)):
        row = rows_m[m]
        start = bounds[row]
        state, place = _record(
            buf,
            start + _HEADER_BYTES,
            bounds[row + 1],
            program,
            stack,
            row,
            cells_Fn,
            reals_Fn,
            spans_Fn,
            flags_Fn,
        )
        states_n[row] = state
        places_n[row] = place if state >= WRONG_BRANCH else place - start
