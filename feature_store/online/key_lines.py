"""Commands that differ in a key's eight bytes alone, made at once."""

import numpy as np

from feature_store.kernels import I64

__all__ = ["key_lines"]


def key_lines(before: bytes, keys: I64, after: bytes) -> bytes:
    """Each of the (n,) keys between the two texts, one line behind another.

    >>> key_lines(b"<", np.array([1, -1]), b">")
    b'<\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00><\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff>'
    """
    lines = np.empty((len(keys), len(before) + 8 + len(after)), np.uint8)
    lines[:] = np.frombuffer(before + bytes(8) + after, np.uint8)
    lines[:, len(before) : len(before) + 8] = np.ascontiguousarray(keys, "<i8").view(np.uint8).reshape(-1, 8)
    return lines.tobytes()
