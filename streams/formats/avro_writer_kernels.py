"""Columns to Avro records: the other direction of avro_kernels, for the one schema a declaration has.

Legend of shapes: F fields, n rows.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel

__all__ = ["BITS", "MOST_FIELD_BYTES", "TEXT", "TRUTH", "WHOLE", "write_records"]

WHOLE, BITS, TEXT, TRUTH = 0, 1, 2, 3
"""Kinds of fields: zigzag, eight bytes as they are, bytes led by their size, one byte."""
MOST_FIELD_BYTES = 11
"""Of a field without the bytes of its text: a branch and a number of ten bytes."""

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]


@kernel
def _long(out: Bytes, at: int, value: int) -> int:
    raw = np.uint64(value << 1) ^ np.uint64(value >> 63)
    while raw > np.uint64(127):
        out[at] = np.uint8((raw & np.uint64(127)) | np.uint64(128))
        raw >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(raw)
    return at + 1


@kernel
def write_records(
    head: Bytes,
    kinds_F: Bytes,
    nullable_F: NDArray[np.bool_],
    cells_Fn: Longs,
    spans_Fn: Longs,
    nulls_Fn: NDArray[np.bool_],
    texts: Bytes,
    out: Bytes,
    bounds: Longs,
) -> None:
    """Write one record a row.

    Args:
        head: what every message begins with.
        kinds_F: WHOLE, BITS, TEXT or TRUTH.
        nullable_F: whether the field is a union whose first branch is null.
        cells_Fn: values; where a text starts in ``texts``.
        spans_Fn: bytes of texts.
        nulls_Fn: where a field is null.
        texts: bytes of all texts.
        out: large enough for all.
        bounds: int64 (n+1,) out, message r is ``out[bounds[r]:bounds[r+1]]``.
    """
    at = 0
    for row in range(len(bounds) - 1):
        bounds[row] = at
        for k in range(len(head)):
            out[at + k] = head[k]
        at += len(head)
        for field in range(len(kinds_F)):
            if nullable_F[field]:
                out[at] = 0 if nulls_Fn[field, row] else 2
                at += 1
                if nulls_Fn[field, row]:
                    continue
            cell = cells_Fn[field, row]
            if kinds_F[field] == WHOLE:
                at = _long(out, at, cell)
            elif kinds_F[field] == BITS:
                for k in range(8):
                    out[at + k] = np.uint8((cell >> (8 * k)) & 255)
                at += 8
            elif kinds_F[field] == TRUTH:
                out[at] = np.uint8(cell)
                at += 1
            else:
                size = spans_Fn[field, row]
                at = _long(out, at, size)
                for k in range(size):
                    out[at + k] = texts[cell + k]
                at += size
    bounds[len(bounds) - 1] = at
