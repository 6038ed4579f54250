"""Kernels of packed columns: all columns of a message in one call, since a live one holds a few dozen rows.

Legend of shapes: C columns, n rows, L bytes, W = L / 8 words.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.memory_kernels import load_byte, load_int, load_long

__all__ = ["squeeze", "widen"]

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]


@kernel
def squeeze(
    table_Cn: Longs,
    bases_C: Longs,
    widths_C: Longs,
    ends_C: Longs,
    bytes_L: Bytes,
    shorts: NDArray[np.uint16],
    ints: NDArray[np.uint32],
    longs_W: NDArray[np.uint64],
) -> None:
    """Write every column in as few bytes as its range needs, each padded to a word.

    Args:
        table_Cn: the columns, a row of the table each.
        bases_C: out: smallest value; 0 of no rows.
        widths_C: out: bytes of a row: 0, 1, 2, 4 or 8.
        ends_C: out: byte behind each column.
        bytes_L: out; room for C * (n + 1) words.
        shorts: the same memory.
        ints: the same memory.
        longs_W: the same memory.
    """
    rows, word = table_Cn.shape[1], 0
    for c in range(table_Cn.shape[0]):
        low = high = table_Cn[c, 0] if rows else 0
        for i in range(rows):
            low, high = min(low, table_Cn[c, i]), max(high, table_Cn[c, i])
        span = np.uint64(high) - np.uint64(low)
        width = 0 if span == 0 else 1 if span < 1 << 8 else 2 if span < 1 << 16 else 4 if span < 1 << 32 else 8
        size = (rows * width + 7) // 8
        if size:
            longs_W[word + size - 1] = 0  # what is not written of the last word
        first = word * 8 // max(width, 1)
        if width == 1:
            for i in range(rows):
                bytes_L[first + i] = np.uint8(table_Cn[c, i] - low)
        elif width == 2:
            for i in range(rows):
                shorts[first + i] = np.uint16(table_Cn[c, i] - low)
        elif width == 4:
            for i in range(rows):
                ints[first + i] = np.uint32(table_Cn[c, i] - low)
        elif width == 8:
            for i in range(rows):
                longs_W[first + i] = np.uint64(table_Cn[c, i] - low)
        word += size
        bases_C[c], widths_C[c], ends_C[c] = low, width, word * 8


@kernel
def widen(body_L: Bytes, starts_C: Longs, bases_C: Longs, widths_C: Longs, table_Cn: Longs) -> None:
    """Undo :func:`squeeze`; the caller has checked that the bytes are there.

    Args:
        body_L: packed columns, at any address.
        starts_C: first byte of each.
        bases_C: smallest value of each.
        widths_C: bytes of a row: 0, 1, 2, 4 or 8.
        table_Cn: out.
    """
    body = body_L.ctypes.data
    for c in range(table_Cn.shape[0]):
        at, base, width = body + starts_C[c], bases_C[c], widths_C[c]
        for i in range(table_Cn.shape[1]):
            if width == 0:
                table_Cn[c, i] = base
            elif width == 1:
                table_Cn[c, i] = base + load_byte(at + i)
            elif width == 2:
                table_Cn[c, i] = base + load_byte(at + 2 * i) + (load_byte(at + 2 * i + 1) << 8)
            elif width == 4:
                table_Cn[c, i] = base + (load_int(at + 4 * i) & 0xFFFFFFFF)
            else:
                table_Cn[c, i] = base + load_long(at + 8 * i)
