"""Columns of whole numbers in as few bytes as their range needs; texts as their lengths and their bytes.

A column is its smallest value and, for each row, what lies above it in 0, 1, 2, 4 or 8 bytes, little-endian, padded
to a multiple of 8. Texts follow the column of their lengths in bytes, as UTF-8, one behind the other, padded too.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.logs.column_kernels import squeeze, widen

__all__ = ["PackedColumn", "pack", "unpack"]

I64 = NDArray[np.int64]
_WIDTHS = (0, 1, 2, 4, 8)
_PAD = b"\0" * 8
_TOGETHER = 15_000
"""Values squeezed in one call: few enough for memory that the allocator keeps. Larger pieces come from the kernel, page
by page, at ten times the cost of what is done with them."""


class PackedColumn(msgspec.Struct, frozen=True, array_like=True):
    """How the bytes of a column are to be read."""

    name: str
    base: int
    width: int
    text_bytes: int = -1
    """Bytes of all texts; -1 when the column is one of numbers."""


def pack(columns: Mapping[str, NDArray[Any]]) -> tuple[tuple[PackedColumn, ...], bytes]:
    """Descriptions and bytes of columns of integers, or of objects (texts), all of one length.

    >>> (eur, day), body = pack({"eur": np.array([1_000, 1_255, 1_001]), "day": np.array([7, 7, 7])})
    >>> eur.base, eur.width, day.base, day.width, body
    (1000, 1, 7, 0, b'\\x00\\xff\\x01\\x00\\x00\\x00\\x00\\x00')
    """
    texts = {name: _Texts(values) for name, values in columns.items() if values.dtype == object}
    numbers = [texts[name].lengths if name in texts else values for name, values in columns.items()]
    described: list[PackedColumn] = []
    parts: list[bytes] = []
    rows = len(numbers[0])
    together = max(1, _TOGETHER // max(rows, 1))
    pieces = (_squeezed(numbers[first : first + together], rows) for first in range(0, len(numbers), together))
    for name, (base, width, stored) in zip(columns, chain.from_iterable(pieces), strict=True):
        text_bytes = -1
        parts.append(stored)
        if name in texts:
            text_bytes = len(texts[name].joined)
            parts += [texts[name].joined, _PAD[: -text_bytes % 8]]
        described.append(PackedColumn(name, base, width, text_bytes))
    return tuple(described), b"".join(parts)


def _squeezed(numbers: Sequence[NDArray[Any]], rows: int) -> Iterator[tuple[int, int, bytes]]:
    """Base, width and bytes of each column, all in one call."""
    table = np.empty((len(numbers), rows), dtype=np.int64)
    for place, values in enumerate(numbers):
        table[place] = values
    room = np.empty(len(numbers) * (rows + 1), dtype=np.uint64)
    bases, widths, ends = np.empty((3, len(numbers)), dtype=np.int64)
    stored = room.view(np.uint8)
    squeeze(table, bases, widths, ends, stored, room.view(np.uint16), room.view(np.uint32), room)
    start = 0
    for base, width, end in zip(bases.tolist(), widths.tolist(), ends.tolist(), strict=True):
        yield base, width, stored[start:end].tobytes()
        start = end


def unpack(columns: Sequence[PackedColumn], rows: int, body: memoryview) -> dict[str, NDArray[Any]]:
    """Columns by name, int64 or objects (texts).

    Raises:
        ValueError: the bytes are not those of such columns.
    """
    starts, texts, at = [], {}, 0
    for column in columns:
        if column.width not in _WIDTHS:
            raise ValueError(f"column {column.name!r} is {column.width} bytes wide")
        starts.append(at)
        at += _padded(rows * column.width)
        if column.text_bytes >= 0:
            texts[column.name] = body[at : at + column.text_bytes]
            at += _padded(column.text_bytes)
    if at != len(body):
        raise ValueError(f"the message has {len(body)} bytes of columns and needs {at}")
    table = np.empty((len(columns), rows), dtype=np.int64)
    bases = np.array([column.base for column in columns], dtype=np.int64)
    widths = np.array([column.width for column in columns], dtype=np.int64)
    widen(np.frombuffer(body, dtype=np.uint8), np.array(starts, dtype=np.int64), bases, widths, table)
    found: dict[str, NDArray[Any]] = {column.name: table[place] for place, column in enumerate(columns)}
    return found | {name: _texts(found[name], stored) for name, stored in texts.items()}


class _Texts:
    """Texts as their lengths and their bytes."""

    def __init__(self, values: NDArray[np.object_]) -> None:
        texts = [text.encode() for text in values.tolist()]
        self.lengths = np.array([len(text) for text in texts], dtype=np.int64)
        self.joined = b"".join(texts)


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


def _padded(size: int) -> int:
    return size + -size % 8
