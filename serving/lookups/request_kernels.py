"""Kernels that take the keys out of many request bodies at once."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64

__all__ = ["MOST_KEYS", "read_keys", "take_keys_out"]

MOST_KEYS = 8
"""Lists of one number a body may have."""
_MOST_DIGITS = 18
"""Any number of so many fits 64 bits."""
_OPEN, _CLOSE, _MINUS, _ZERO, _NINE = 91, 93, 45, 48, 57  # "[", "]", "-", "0", "9"

_Bytes = NDArray[np.uint8]


@kernel
def _read_key(bodies: _Bytes, at: int, end: int) -> tuple[int, int]:
    """JSON's integer before a closing bracket, and where that stands; -1 where there is none."""
    place, negative = at, False
    if place < end and bodies[place] == _MINUS:
        place, negative = place + 1, True
    first, number = place, 0
    while place < end and _ZERO <= bodies[place] <= _NINE:
        if place - first < _MOST_DIGITS:
            number = 10 * number + (int(bodies[place]) - _ZERO)
        place += 1
    digits = place - first
    if digits == 0 or digits > _MOST_DIGITS or (digits > 1 and bodies[first] == _ZERO):
        return 0, -1
    if place == end or bodies[place] != _CLOSE:
        return 0, -1
    return (-number if negative else number), place


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
            key, behind = _read_key(bodies, at, ends[row])
            if behind >= 0:
                if count < MOST_KEYS:
                    keys[row, count] = key
                count += 1
                at = behind
        form_ends[row], counts[row] = out, count
    return out


@kernel
def read_keys(bodies: _Bytes, ends: I64, texts: _Bytes, text_ends: I64, keys: I64) -> bool:
    """Whether all bodies have one form, and their keys: what :func:`take_keys_out` finds, for a form that is known.

    Args:
        bodies: one behind another.
        ends: (n,) where each ends.
        texts: the form, cut between the brackets of its lists.
        text_ends: where each piece ends.
        keys: (n, MOST_KEYS) written.
    """
    at = 0
    for row in range(ends.size):
        low = 0
        for piece in range(text_ends.size):
            if piece > 0:
                keys[row, piece - 1], at = _read_key(bodies, at, ends[row])
                if at < 0:
                    return False
            size = text_ends[piece] - low
            if at + size > ends[row]:
                return False
            theirs, ours, difference = bodies[at : at + size], texts[low : low + size], np.uint8(0)
            for byte in range(size):
                difference |= theirs[byte] ^ ours[byte]
            if difference != 0:
                return False
            at, low = at + size, text_ends[piece]
        if at != ends[row]:
            return False
    return True
