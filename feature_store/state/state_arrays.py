"""The arrays a view's state consists of, and how empty ones are made.

Every key has a slot; every slot owns a block of the arena with its history (see kernels.py), the row after the
last event included:

    block     BASE ─┬───────────────────────────────────────┬─ BASE + CAP
    evicted         │░░░░░░░░│ live events, by (t, id) │    free
                           START            START + COUNT
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64, shape_of
from feature_store.plan import NEVER_US, ViewPlan

__all__ = [
    "PendingLabels",
    "Slots",
    "empty_arena",
    "empty_ids",
    "empty_pending",
    "empty_slots",
    "power_of_two",
]

BASE, CAP, START, COUNT, DIRTY, EMITTED, CHANGED, KEY = range(8)
"""Columns of Slots.meta; eight int64 are one cache line."""
USED, FREE, TOP, IDS, PENDING = range(5)
"""Places of the counters: slots ever used, head of the free list, arena in use, entries of the two id tables."""
GONE = -1
"""CAP of a free slot."""
EVENT, TIME, SLOT = range(3)
"""Columns of the id table, open addressing from event id to where the event is; SLOT -1 is an empty place.
An entry outlives its event until the table is rebuilt."""


class Slots(NamedTuple):
    """Keys. Shapes: K slots, a power of two of table places."""

    meta: I64
    """(K, 8) DIRTY: earliest instant the log must say again; EMITTED: instant it has reached (NULL: nothing yet);
    CHANGED: valid_from of the newest row. Of a free slot BASE is the next free one."""
    next_change: I64
    """(K,) instant the row expires; NULL: touched, its row must be written anew."""
    reworked: I64
    """(K,) earliest time of an event that was put between others, or got a label, since changes were last taken."""
    table: NDArray[np.int32]
    """Open addressing from key to slot, -1 empty; unused with text keys."""
    counters: I64


class PendingLabels(NamedTuple):
    """Labels whose event has not come. ``at`` is the watermark when the label came; NEVER_US: empty place."""

    id: I64
    value: I64
    at: I64


def empty_slots() -> Slots:
    """Room for the first few keys."""
    return Slots(
        meta=np.zeros((64, 8), dtype=np.int64),
        next_change=np.full(64, NEVER_US, dtype=np.int64),
        reworked=np.full(64, NEVER_US, dtype=np.int64),
        table=np.full(128, -1, dtype=np.int32),
        counters=np.array([0, -1, 0, 0, 0], dtype=np.int64),
    )


def empty_arena(plan: ViewPlan, size: int) -> I64:
    """An arena of ``size`` rows of history."""
    return np.zeros((size, shape_of(plan).width), dtype=np.int64)


def empty_ids(size: int) -> I64:
    """An id table of ``size`` places, a power of two."""
    return np.full((size, 3), -1, dtype=np.int64)


def empty_pending(size: int) -> PendingLabels:
    """A table of waiting labels of ``size`` places, a power of two."""
    return PendingLabels(
        id=np.zeros(size, dtype=np.int64),
        value=np.zeros(size, dtype=np.int64),
        at=np.full(size, NEVER_US, dtype=np.int64),
    )


def power_of_two(at_least: int) -> int:
    """The next power of two, at least 64."""
    return 1 << max(6, (at_least - 1).bit_length())
