"""Kernels for the replies to many lookups at once: the protocol of Redis read without an object a value.

*2\\r\\n  $96\\r\\n<row>\\r\\n  $-1\\r\\n        one reply: an array of as many values as fields were asked for
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64

__all__ = ["MALFORMED", "gather", "read_replies"]

_ABSENT, _UNFINISHED, MALFORMED = -1, -2, -3
"""Lengths that are none; MALFORMED: what came is no array of values but an error message, say."""
_ARRAY, _VALUE, _MINUS, _CR = 42, 36, 45, 13  # "*", "$", "-"

_MOST = 2**40
"""No value is as long."""

_Bytes = NDArray[np.uint8]


@kernel
def _length(data: _Bytes, size: int, at: int, mark: int) -> tuple[int, int]:
    """The number behind ``mark`` and where what it measures begins."""
    if at >= size:
        return _UNFINISHED, at
    if data[at] != mark:
        return MALFORMED, at
    number, negative, at = 0, False, at + 1
    while at < size and data[at] != _CR:
        if data[at] == _MINUS:
            negative = True
        elif 48 <= data[at] <= 57 and number < _MOST:
            number = 10 * number + (int(data[at]) - 48)
        else:
            return MALFORMED, at
        at += 1
    if at + 2 > size:
        return _UNFINISHED, at
    return (_ABSENT if negative else number), at + 2


@kernel
def _reply(data: _Bytes, size: int, at: int, done: int, spans: I64) -> int:
    """Read one reply whole; where the next begins, or why not."""
    count, at = _length(data, size, at, _ARRAY)
    if count < 0:
        return count if count != _ABSENT else MALFORMED
    if count != spans.shape[1]:
        return MALFORMED
    for value in range(count):
        length, at = _length(data, size, at, _VALUE)
        if length < _ABSENT:
            return length
        first, last = (0, 0) if length == _ABSENT else (at, at + length)
        if length != _ABSENT:
            at = last + 2
            if at > size:
                return _UNFINISHED
        spans[done, value, 0], spans[done, value, 1] = first, last
    return at


@kernel
def read_replies(data: _Bytes, size: int, at: int, done: int, spans: I64) -> tuple[int, int]:
    """Read on from byte ``at`` of ``data[:size]`` as far as replies are whole; ``done`` have been read.

    Args:
        spans: (n, values of a reply, 2) written: where each value begins and ends; 0, 0 where there is none.

    Returns:
        ``at`` and ``done`` anew; MALFORMED and the reply's number when it is not what was asked for.
    """
    while done < spans.shape[0]:
        following = _reply(data, size, at, done, spans)
        if following == MALFORMED:
            return MALFORMED, done
        if following == _UNFINISHED:
            break
        at, done = following, done + 1
    return at, done


@allocating_kernel
def gather(data: _Bytes, spans: I64, first: int, number: int, ends: I64) -> _Bytes:
    """Values ``first … first + number - 1`` of every reply, one behind another; writes where those of each end."""
    size = 0
    for row in range(spans.shape[0]):
        for value in range(first, first + number):
            size += spans[row, value, 1] - spans[row, value, 0]
        ends[row] = size
    out = np.empty(size, np.uint8)
    at = 0
    for row in range(spans.shape[0]):
        for value in range(first, first + number):
            low, high = spans[row, value, 0], spans[row, value, 1]
            for k in range(high - low):
                out[at + k] = data[low + k]
            at += high - low
    return out
