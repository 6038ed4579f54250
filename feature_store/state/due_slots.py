"""Which slots of a view's state are due: the cost of a drain follows the rows it gives, not the keys that are held."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64
from feature_store.plan import NEVER_US, NULL
from feature_store.state import due_kernels
from feature_store.state.due_kernels import FAN_OUT

__all__ = ["DueSlots"]


class DueSlots:
    """A list and a tree beside ``Slots.next_change``, which stays the truth: what the tree says is never later.

    Args:
        next_change: (K,) K is a multiple of 16.
    """

    def __init__(self, next_change: I64) -> None:
        self._looked_at: I64 = np.empty(0, dtype=np.int64)
        self._due: I64 = np.empty(0, dtype=np.int64)
        self.rebuild(next_change)

    @property
    def nbytes(self) -> int:
        """Memory of all this."""
        return self._least.nbytes + self._is_listed.nbytes + self._touched.nbytes

    @property
    def touched(self) -> I64:
        """Slots that were touched and not drained yet, in any order."""
        return self._touched[: self._number]

    def rebuild(self, next_change: I64) -> None:
        """Begin anew with these instants, of as many slots as they are."""
        self._is_listed: NDArray[np.bool_] = next_change == NULL
        self._touched: I64 = np.flatnonzero(self._is_listed).astype(np.int64, copy=False)
        self._number = len(self._touched)
        levels: list[I64] = []
        below = next_change
        while len(below) > FAN_OUT or not levels:
            least = below.reshape(-1, FAN_OUT).min(axis=1)
            padding = np.full(-len(least) % FAN_OUT, NEVER_US, dtype=np.int64)
            below = np.concatenate([least, padding])
            levels.append(below)
        self._least = np.concatenate(levels)
        self._starts = np.cumsum([0, *(len(level) for level in levels[:-1])])

    def touch(self, slots: NDArray[np.int32], next_change: I64) -> None:
        """Some of these may have become due at once."""
        if self._number + len(slots) > len(self._touched):
            room = np.empty(2 * (self._number + len(slots)), dtype=np.int64)
            room[: self._number] = self.touched
            self._touched = room
        self._number = int(due_kernels.list_touched(slots, next_change, self._is_listed, self._touched, self._number))

    def find(self, next_change: I64, watermark_us: int) -> I64:
        """Slots that are due at the watermark, rising; :meth:`settle` follows once their instants are later ones."""
        expired, self._looked_at = due_kernels.expired_slots(next_change, self._least, self._starts, watermark_us)
        # In order: slots that are neighbours have their histories near each other.
        self._due = np.sort(np.concatenate([self.touched, expired]))
        return self._due

    def settle(self, next_change: I64) -> None:
        """The slots found last have new instants."""
        due_kernels.settle(self._due, self._looked_at, next_change, self._least, self._starts, self._is_listed)
        self._number = 0
