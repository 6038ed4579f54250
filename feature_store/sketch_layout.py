"""Sketches as bytes beside other data: behind the state of an online row, and among the arrays of a snapshot.

    row         of each sketch: u64 size, its bytes, filled up to whole words
    snapshot    sketch_sizes (n, S), sketch_bytes: one behind another, by slot and then by feature

An empty sketch has no bytes.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import IntegrityError

__all__ = ["BYTES", "SIZES", "Saved", "chosen_sketches", "decode_sketches", "encode_sketches", "pack", "unpack"]

Saved = tuple[bytes, ...]
"""One key's sketches, in the order of the features."""

SIZES, BYTES = "sketch_sizes", "sketch_bytes"
_SIZE = struct.Struct("<Q")


def encode_sketches(saved: Saved) -> bytes:
    """What stands behind the state of a row; whole words."""
    return b"".join(_SIZE.pack(len(one)) + one + bytes(-len(one) % 8) for one in saved)


def decode_sketches(data: bytes, number: int) -> Saved:
    """The sketches of a row.

    Raises:
        IntegrityError: it is cut off, or none.
    """
    saved, at = [], 0
    for _ in range(number):
        if at + _SIZE.size > len(data):
            break
        (size,) = _SIZE.unpack_from(data, at)
        at += _SIZE.size
        saved.append(data[at : at + size])
        at += size + -size % 8
    if at != len(data) or len(saved) < number:
        raise IntegrityError(f"the sketches of an online row, {len(data)} bytes, are cut off")
    return tuple(saved)


def pack(rows: Sequence[Saved], number: int) -> dict[str, NDArray[np.generic]]:
    """Arrays of n keys with ``number`` sketches each."""
    sizes = np.array([len(one) for saved in rows for one in saved], dtype=np.int64).reshape(len(rows), number)
    data = b"".join(one for saved in rows for one in saved)
    return {SIZES: sizes, BYTES: np.frombuffer(data, dtype=np.uint8)}


def unpack(sizes: NDArray[np.int64], data: NDArray[np.uint8]) -> Iterator[Saved]:
    """The keys' sketches again."""
    whole, end = data.tobytes(), 0
    for line in sizes.tolist():
        saved = []
        for size in line:
            saved.append(whole[end : end + size])
            end += size
        yield tuple(saved)


def chosen_sketches(
    sizes: NDArray[np.int64], data: NDArray[np.uint8], chosen: NDArray[np.int64]
) -> dict[str, NDArray[np.generic]]:
    """Arrays of some keys, in the order of ``chosen``."""
    totals = sizes.sum(axis=1)
    kept = totals[chosen]
    # For each byte that stays, where it comes from: its key's first byte, and how far behind it.
    first = (np.cumsum(totals) - totals)[chosen] - (np.cumsum(kept) - kept)
    return {SIZES: sizes[chosen], BYTES: data[np.repeat(first, kept) + np.arange(int(kept.sum()))]}
