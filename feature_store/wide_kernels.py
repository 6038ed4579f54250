"""Whole numbers wider than 64 bits, for exact sums of squares and of huge values; limbs are uint64, lowest first.

Kernels keep limbs in int64 cells: the same bits. Everything here is exact; only :func:`float_of` rounds, once, to the
nearest double, halves to even.
"""

import math

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel

__all__ = ["add_square", "add_value", "float_of", "float_of_signed", "spread", "subtract_square"]

I64 = NDArray[np.int64]
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TOP = np.uint64(1 << 63)


@kernel
def _multiply(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Low and high limb of a product."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    low = a0 * b0
    middle = a1 * b0 + (low >> _HALF)
    cross = a0 * b1 + (middle & _LOW)
    return (cross << _HALF) | (low & _LOW), a1 * b1 + (middle >> _HALF) + (cross >> _HALF)


@kernel
def _carry(total: np.uint64, part: np.uint64) -> np.uint64:
    """1 when a sum has overflown, given one of its parts."""
    return _ONE if total < part else _ZERO


@kernel
def _magnitude(x: int) -> np.uint64:
    return np.uint64(x) if x >= 0 else _ZERO - np.uint64(x)


@kernel
def add_value(cells: I64, row: int, column: int, x: int) -> None:
    """Add a signed number to the two limbs at ``column``, in two's complement."""
    low = np.uint64(cells[row, column]) + np.uint64(x)
    high = np.uint64(cells[row, column + 1]) + _carry(low, np.uint64(x))
    if x < 0:
        high -= _ONE
    cells[row, column], cells[row, column + 1] = np.int64(low), np.int64(high)


@kernel
def add_square(cells: I64, row: int, column: int, x: int) -> None:
    """Add a square to the three limbs at ``column``."""
    size = _magnitude(x)
    s0, s1 = _multiply(size, size)
    q0 = np.uint64(cells[row, column]) + s0
    carry = _carry(q0, s0)
    q1 = np.uint64(cells[row, column + 1]) + s1
    over = _carry(q1, s1)
    q1 += carry
    over += _carry(q1, carry)
    cells[row, column], cells[row, column + 1] = np.int64(q0), np.int64(q1)
    cells[row, column + 2] = np.int64(np.uint64(cells[row, column + 2]) + over)


@kernel
def subtract_square(cells: I64, row: int, column: int, x: int) -> None:
    """Take a square that was added off the three limbs at ``column``."""
    size = _magnitude(x)
    s0, s1 = _multiply(size, size)
    q0, q1 = np.uint64(cells[row, column]), np.uint64(cells[row, column + 1])
    borrow = _ONE if q0 < s0 else _ZERO
    rest = q1 - s1
    lent = _ONE if q1 < s1 else _ZERO
    lent += _ONE if rest < borrow else _ZERO
    cells[row, column], cells[row, column + 1] = np.int64(q0 - s0), np.int64(rest - borrow)
    cells[row, column + 2] = np.int64(np.uint64(cells[row, column + 2]) - lent)


@kernel
def float_of(a0: np.uint64, a1: np.uint64, a2: np.uint64) -> float:
    """The nearest double of three limbs."""
    exponent = 64
    if a2 != _ZERO:
        # The lowest limb is below every digit that stays; whether it is zero decides a tie.
        a1 |= _ONE if a0 != _ZERO else _ZERO
        a0, a1, exponent = a1, a2, 128
    if a1 == _ZERO:
        return float(a0)
    while a1 & _TOP == _ZERO:
        a1 = (a1 << _ONE) | (a0 >> np.uint64(63))
        a0 = a0 << _ONE
        exponent -= 1
    return math.ldexp(float(a1 | (_ONE if a0 != _ZERO else _ZERO)), exponent)


@kernel
def float_of_signed(cells: I64, row: int, column: int) -> float:
    """The nearest double of two limbs in two's complement."""
    low, high = np.uint64(cells[row, column]), np.uint64(cells[row, column + 1])
    if high & _TOP == _ZERO:
        return float_of(low, high, _ZERO)
    low = _ZERO - low
    high = _ZERO - high - (_ONE if low != _ZERO else _ZERO)
    return -float_of(low, high, _ZERO)


@kernel
def spread(cells: I64, row: int, column: int) -> float:
    """``n Σx² - (Σx)²`` of the cells n, Σx (two limbs), Σx² (three limbs)."""
    n = np.uint64(cells[row, column])
    low, high = np.uint64(cells[row, column + 1]), np.uint64(cells[row, column + 2])
    if high & _TOP != _ZERO:
        low = _ZERO - low
        high = _ZERO - high - (_ONE if low != _ZERO else _ZERO)
    q0, q1, q2 = np.uint64(cells[row, column + 3]), np.uint64(cells[row, column + 4]), np.uint64(cells[row, column + 5])
    p0, p1 = _multiply(n, q0)
    r1, p2 = _multiply(n, q1)
    p1 += r1
    p2 += _carry(p1, r1) + n * q2
    s0, s1 = _multiply(low, low)
    m0, m1 = _multiply(low, high)
    s2 = high * high + m1 + m1 + (m0 >> np.uint64(63))
    m0 = m0 << _ONE
    s1 += m0
    s2 += _carry(s1, m0)
    borrow = _ONE if p0 < s0 else _ZERO
    d1 = p1 - s1
    lent = _ONE if p1 < s1 else _ZERO
    lent += _ONE if d1 < borrow else _ZERO
    return float_of(p0 - s0, d1 - borrow, p2 - s2 - lent)
