"""Columns of whole numbers in as few bytes as their range needs; texts as their lengths and their bytes.

A column is its smallest value and, for each row, what lies above it in 0, 1, 2, 4 or 8 bytes, little-endian, padded
to a multiple of 8. Texts follow the column of their lengths in bytes, as UTF-8, one behind the other, padded too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["PackedColumn", "pack", "unpack"]

I64 = NDArray[np.int64]
_WIDTHS = (0, 1, 2, 4, 8)
_PAD = b"\0" * 8


class PackedColumn(msgspec.Struct, frozen=True, array_like=True):
    """How the bytes of a column are to be read."""

    name: str
    base: int
    width: int
    text_bytes: int = -1
    """Bytes of all texts; -1 when the column is one of numbers."""


def pack(name: str, values: NDArray[Any]) -> tuple[PackedColumn, list[bytes | memoryview]]:
    """Description and bytes of a column of integers, or of objects (texts).

    >>> column, parts = pack("eur", np.array([1_000, 1_255, 1_001]))
    >>> column.base, column.width, b"".join(parts)
    (1000, 1, b'\\x00\\xff\\x01\\x00\\x00\\x00\\x00\\x00')
    """
    if values.dtype == object:
        texts = [text.encode() for text in values.tolist()]
        lengths, parts = pack(name, np.array([len(text) for text in texts], dtype=np.int64))
        joined = b"".join(texts)
        described = PackedColumn(name, lengths.base, lengths.width, len(joined))
        return described, [*parts, joined, *_padding(len(joined))]
    if not len(values):
        return PackedColumn(name, 0, 0), []
    low, high = int(values.min()), int(values.max())
    width = next(width for width in _WIDTHS if (high - low) >> (8 * width) == 0)
    if not width:
        return PackedColumn(name, low, 0), []
    above = values.astype(np.int64, copy=False).view(np.uint64) - np.uint64(low % 2**64)
    stored = np.ascontiguousarray(above.astype(f"<u{width}", copy=False))
    return PackedColumn(name, low, width), [stored.data.cast("B"), *_padding(stored.nbytes)]


def unpack(columns: Sequence[PackedColumn], rows: int, body: memoryview) -> dict[str, NDArray[Any]]:
    """Columns by name, int64 or objects (texts).

    Raises:
        ValueError: the bytes are not those of such columns.
    """
    taker = _Taker(body)
    found: dict[str, NDArray[Any]] = {}
    for column in columns:
        if column.width not in _WIDTHS:
            raise ValueError(f"column {column.name!r} is {column.width} bytes wide")
        numbers = _numbers(column, rows, taker.take(rows * column.width))
        found[column.name] = numbers if column.text_bytes < 0 else _texts(numbers, taker.take(column.text_bytes))
    taker.end()
    return found


class _Taker:
    """Cuts padded pieces off."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def take(self, size: int) -> memoryview:
        piece = self._body[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("the message is cut")
        self._at += size + -size % 8
        return piece

    def end(self) -> None:
        if self._at != len(self._body):
            raise ValueError(f"the message has {len(self._body)} bytes of columns and needs {self._at}")


def _numbers(column: PackedColumn, rows: int, stored: memoryview) -> I64:
    if not column.width:
        return np.full(rows, column.base, dtype=np.int64)
    above = np.frombuffer(stored, dtype=f"<u{column.width}").astype(np.uint64)
    above += np.uint64(column.base % 2**64)
    return above.view(np.int64)


def _texts(lengths: I64, stored: memoryview) -> NDArray[np.object_]:
    ends = np.cumsum(lengths)
    if lengths.size and (lengths.min() < 0 or ends[-1] != len(stored)):
        raise ValueError("the texts are not as long as they say")
    texts = np.empty(len(lengths), dtype=object)
    texts[:] = list(_cut(bytes(stored), ends.tolist()))
    return texts


def _cut(joined: bytes, ends: Sequence[int]) -> Iterator[str]:
    start = 0
    for end in ends:
        yield joined[start:end].decode()
        start = end


def _padding(size: int) -> tuple[bytes, ...]:
    return (_PAD[: -size % 8],) if size % 8 else ()
