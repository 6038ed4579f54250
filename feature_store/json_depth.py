"""How deep JSON is nested, asked before anything recurses into it: the bound is ours, not the interpreter's."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel

__all__ = ["is_deeper"]

_QUOTE, _BACKSLASH = 0x22, 0x5C
_OPEN_ARRAY, _CLOSE_ARRAY, _OPEN_OBJECT, _CLOSE_OBJECT = 0x5B, 0x5D, 0x7B, 0x7D


def is_deeper(data: bytes, most: int) -> bool:
    """Whether arrays and objects stand in each other more than ``most`` deep.

    Of what is no JSON it says nothing that matters: a decoder that goes from left to right refuses it before it is
    deeper than this found.

    >>> is_deeper(b'{"a": [1, 2], "b": "[["}', 2), is_deeper(b"[[[]]]", 2)
    (False, True)
    """
    # Counting costs nothing beside decoding, and is the whole answer for a request about a few rows.
    if data.count(b"[") + data.count(b"{") <= most:
        return False
    return bool(_is_deeper(np.frombuffer(data, dtype=np.uint8), most))


@kernel
def _is_deeper(data: NDArray[np.uint8], most: int) -> bool:
    depth, is_text, i = 0, False, 0
    while i < data.size:
        byte = data[i]
        if is_text:
            if byte == _BACKSLASH:
                i += 1
            elif byte == _QUOTE:
                is_text = False
        elif byte == _QUOTE:
            is_text = True
        elif byte in (_OPEN_ARRAY, _OPEN_OBJECT):
            depth += 1
            if depth > most:
                return True
        elif byte in (_CLOSE_ARRAY, _CLOSE_OBJECT):
            depth -= 1
        i += 1
    return False
