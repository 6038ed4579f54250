"""Kernel that takes the keys out of many request bodies at once."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64

__all__ = ["MOST_KEYS", "take_keys_out"]

MOST_KEYS = 8
"""Lists of one number a body may have."""
_MOST_DIGITS = 18
"""Any number of so many fits 64 bits."""
_OPEN, _CLOSE, _MINUS, _ZERO, _NINE = 91, 93, 45, 48, 57  # "[", "]", "-", "0", "9"

_Bytes = NDArray[np.uint8]


@kernel
def take_keys_out(bodies: _Bytes, ends: I64, forms: _Bytes, form_ends: I64, keys: I64, counts: I64) -> int:
    """Write each body without the numbers of its lists of one number: ``{"a":[5],"b":"[7]"}`` is ``{"a":[],"b":"[]"}``.

    It does not know a list from a text that looks like one; whoever uses a form must have tried it. Numbers are JSON's
    integers (RFC 8259: no zeros before them) of at most 18 digits, with nothing between them and the brackets.

    Args:
        bodies: one behind another.
        ends: (n,) where each ends.
        forms: as long as the bodies; written.
        form_ends: (n,) where each form ends; written.
        keys: (n, MOST_KEYS) the numbers; written.
        counts: (n,) how many there are, also beyond MOST_KEYS; written.

    Returns:
        Bytes of all forms.
    """
    at, out = 0, 0
    for row in range(ends.size):
        count = 0
        while at < ends[row]:
            byte = bodies[at]
            forms[out] = byte
            at, out = at + 1, out + 1
            if byte != _OPEN:
                continue
            place, negative = at, False
            if place < ends[row] and bodies[place] == _MINUS:
                place, negative = place + 1, True
            first, number = place, 0
            while place < ends[row] and _ZERO <= bodies[place] <= _NINE:
                if place - first < _MOST_DIGITS:
                    number = 10 * number + (int(bodies[place]) - _ZERO)
                place += 1
            digits = place - first
            if digits == 0 or digits > _MOST_DIGITS or (digits > 1 and bodies[first] == _ZERO):
                continue
            if place < ends[row] and bodies[place] == _CLOSE:
                if count < MOST_KEYS:
                    keys[row, count] = -number if negative else number
                count += 1
                at = place
        form_ends[row], counts[row] = out, count
    return out
