"""Exponential decay with the same bits on every machine: a table and a polynomial, no library function.

    2^-x = 2^-⌊x⌋ · 2^-(j/64) · e^(-r ln 2),   j the next six binary digits of x, r < 1/64 the rest

Each step is one IEEE operation in a fixed order; the relative error is below 1e-15.
"""

import math
from decimal import Decimal

import numpy as np
from numba import types
from numba.extending import intrinsic

from feature_store.kernel_cache import kernel

__all__ = ["bits_of", "decay", "number_of"]

_STEPS = np.array([float(Decimal(2) ** (Decimal(-j) / 64)) for j in range(64)])
"""2^-(j/64), each the nearest double."""
_LN2 = 0.6931471805599453


@kernel
def decay(age_us: int, half_life_us: int) -> float:
    """``2^-(age / half_life)`` of an age of 0 or more."""
    x = float(age_us) / float(half_life_us)
    if x >= 1100.0:
        return 0.0
    steps = int(x * 64.0)
    y = (x - float(steps) / 64.0) * _LN2
    tail = 1.0 - y * (1.0 - y / 2.0 * (1.0 - y / 3.0 * (1.0 - y / 4.0 * (1.0 - y / 5.0 * (1.0 - y / 6.0)))))
    return math.ldexp(_STEPS[steps & 63] * tail, -(steps >> 6))


@intrinsic
def bits_of(_typing, _number):  # type: ignore[no-untyped-def] # numba's own protocol
    """The bits of a double as int64, so that it can stand in a cell."""

    def code(context, builder, _signature, arguments):  # type: ignore[no-untyped-def] # as above
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), code


@intrinsic
def number_of(_typing, _bits):  # type: ignore[no-untyped-def] # as above
    """The double whose bits a cell holds."""

    def code(context, builder, _signature, arguments):  # type: ignore[no-untyped-def] # as above
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), code
