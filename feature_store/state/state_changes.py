"""Which part of a view's memory changed since it was last taken into a snapshot.

Every slot whose row was touched or has expired passes through a drain, so a drain is where it is noted; sweeps note
theirs. Of a slot only the events from some time on are taken again: those that follow the newest one taken before, and
from the earliest on that was put between others or got a label (``Slots.reworked``, which the kernels keep).
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64
from feature_store.plan import NEVER_US, NULL

__all__ = ["StateChanges"]


class StateChanges:
    """Notes about ``size`` slots, of which none was ever taken."""

    def __init__(self, size: int) -> None:
        self.touched: NDArray[np.bool_] = np.zeros(size, dtype=np.bool_)
        self.newest_us: I64 = np.full(size, NULL, dtype=np.int64)
        """(K,) time of the newest event when the slot was last taken; NULL: it had none. Of a slot that was freed since
        it lies behind the retention, before any event of the next key."""
        self.labels_since_us = NEVER_US
        """Waiting labels of this instant and later may be new."""
        self.labels_dropped_us = NULL
        """Waiting labels of earlier instants are gone."""

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.touched.nbytes + self.newest_us.nbytes

    def grow(self, size: int) -> None:
        """Make room for slots up to ``size``."""
        more = size - len(self.touched)
        self.touched = np.concatenate([self.touched, np.zeros(more, dtype=np.bool_)])
        self.newest_us = np.concatenate([self.newest_us, np.full(more, NULL, dtype=np.int64)])

    def touch(self, slots: I64) -> None:
        """These may have changed."""
        self.touched[slots] = True

    def note_labels(self, since_us: int) -> None:
        """Labels were put among those that wait, as of ``since_us``."""
        self.labels_since_us = min(self.labels_since_us, since_us)

    def drop_labels(self, oldest_us: int) -> None:
        """Labels that waited since before ``oldest_us`` are gone."""
        self.labels_dropped_us = max(self.labels_dropped_us, oldest_us)

    def taken(self, slots: I64, newest_us: I64) -> None:
        """Everything noted is in a snapshot; ``newest_us`` is the time of the newest event of each of ``slots``."""
        self.touched[slots] = False
        self.newest_us[slots] = newest_us
        self.labels_since_us = NEVER_US
