"""Message values of one batch in one piece of memory, as scanners read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Payloads"]


@dataclass(frozen=True, slots=True, eq=False)
class Payloads:
    """Values one behind the other; row ``i`` is ``buffer[bounds[i]:bounds[i + 1]]``.

    >>> values = Payloads.of([b"one", b"", b"three"])
    >>> len(values), values[2], values.sizes.tolist()
    (3, b'three', [3, 0, 5])
    """

    buffer: NDArray[np.uint8]
    bounds: NDArray[np.int64]
    """(n + 1,)"""

    @classmethod
    def of(cls, values: Sequence[bytes]) -> "Payloads":
        """Of separate values."""
        bounds = np.zeros(len(values) + 1, dtype=np.int64)
        np.cumsum([len(value) for value in values], out=bounds[1:])
        # Writable, as what comes out of Kafka is: kernels are compiled for one kind of array.
        return cls(np.frombuffer(bytearray().join(values), dtype=np.uint8), bounds)

    @classmethod
    def joined(cls, parts: Sequence["Payloads"]) -> "Payloads":
        """Of several, one behind the other.

        >>> list(Payloads.joined([Payloads.of([b"one", b"two"]).slice(1, 2), Payloads.of([b"three"])]))
        [b'two', b'three']
        """
        if len(parts) == 1:
            return parts[0]
        spans = [(int(part.bounds[0]), int(part.bounds[-1])) for part in parts]
        buffer = np.concatenate([part.buffer[start:stop] for part, (start, stop) in zip(parts, spans, strict=True)])
        bounds = np.zeros(sum(map(len, parts)) + 1, dtype=np.int64)
        row, before = 0, 0
        for part, (start, stop) in zip(parts, spans, strict=True):
            np.add(part.bounds[1:], before - start, out=bounds[row + 1 : row + 1 + len(part)])
            row, before = row + len(part), before + stop - start
        return cls(buffer, bounds)

    def slice(self, start: int, stop: int) -> "Payloads":
        """Some of the rows, in the same memory."""
        return Payloads(self.buffer, self.bounds[start : stop + 1])

    def copy(self) -> "Payloads":
        """The same in memory of its own."""
        start = self.bounds[0]
        return Payloads(self.buffer[start : self.bounds[-1]].copy(), self.bounds - start)

    def filled(self) -> tuple["Payloads", NDArray[np.int64]]:
        """The values that are not empty, in the same memory, and their rows.

        >>> values, rows = Payloads.of([b"one", b"", b"three"]).filled()
        >>> list(values), rows.tolist()
        ([b'one', b'three'], [0, 2])
        """
        rows = np.flatnonzero(self.sizes)
        if len(rows) == len(self):
            return self, rows
        return Payloads(self.buffer, np.append(self.bounds[rows], self.bounds[-1])), rows

    @property
    def size(self) -> int:
        """Bytes of all values together."""
        return int(self.bounds[-1] - self.bounds[0])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) bytes of each value."""
        return np.diff(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __getitem__(self, row: int) -> bytes:
        return self.buffer[self.bounds[row] : self.bounds[row + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return (self[row] for row in range(len(self)))
