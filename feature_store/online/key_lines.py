"""Commands that differ in a key's eight bytes alone, made at once."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64
from feature_store.memory_kernels import copy

__all__ = ["KeyLines"]


class KeyLines:
    """A line with room for a key.

    >>> KeyLines(b"<", b">").of(np.array([[1], [-1]]))
    b'<\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00><\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff>'

    Args:
        before, after: what stands around the key.
    """

    def __init__(self, before: bytes, after: bytes) -> None:
        self._line = np.array(bytearray(before + bytes(8) + after), np.uint8)
        self._place = len(before)

    def of(self, keys: I64, column: int = 0) -> bytes:
        """One line behind another.

        Args:
            keys: (n, m) in C order.
            column: whose keys are taken.
        """
        lines = np.empty((len(keys), len(self._line)), np.uint8)
        _write(lines, self._line, self._place, keys, column)
        return lines.tobytes()


@kernel
def _write(lines: NDArray[np.uint8], line: NDArray[np.uint8], place: int, keys: I64, column: int) -> None:
    to, size = lines.ctypes.data, line.size
    for row in range(keys.shape[0]):
        copy(to + row * size, line.ctypes.data, size)
        key = keys[row, column]
        for byte in range(8):
            lines[row, place + byte] = (key >> (8 * byte)) & 0xFF
