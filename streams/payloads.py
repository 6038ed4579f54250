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
        return cls(np.frombuffer(b"".join(values), dtype=np.uint8), bounds)

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
