"""Sketches as bytes beside other data: behind the state of an online row, and among the arrays of a snapshot.

    row         u64 checksum (CRC-32) of what follows; of each sketch: u64 size, its bytes, filled up to whole words
    snapshot    sketch_sizes (n, S), sketch_bytes: one behind another, by slot and then by feature

An empty sketch has no bytes. The library may crash or run for ever on bytes it did not write, so a row has a checksum;
a snapshot has one already.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import IntegrityError

__all__ = ["BYTES", "SIZES", "Saved", "chosen_sketches", "decode_sketches", "encode_sketches", "pack", "unpack"]

Saved = tuple[bytes, ...]
"""One key's sketches, in the order of the features."""

SIZES, BYTES = "sketch_sizes", "sketch_bytes"
_WORD = struct.Struct("<Q")


def encode_sketches(saved: Saved) -> bytes:
    """What stands behind the state of a row; whole words."""
    data = b"".join(_WORD.pack(len(one)) + one + bytes(-len(one) % 8) for one in saved)
    return _WORD.pack(zlib.crc32(data)) + data


def decode_sketches(data: bytes, number: int) -> Saved:
    """The sketches of a row.

    Raises:
        IntegrityError: they are damaged.
    """
    saved, at = [], _WORD.size
    if data[:at] == _WORD.pack(zlib.crc32(data[at:])):
        while at < len(data):
            (size,) = _WORD.unpack_from(data, at)
            at += _WORD.size
            saved.append(data[at : at + size])
            at += size + -size % 8
    if len(saved) != number:
        raise IntegrityError(
            f"the sketches of an online row, {len(data)} bytes, are damaged",
            hint="find out what else writes this view; its next event writes the row anew",
        )
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
