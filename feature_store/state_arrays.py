"""The arrays a view's state consists of, and how empty ones are made.

Every key has a slot; every slot owns a block of the arena in which its events lie by (time, id). Positions
``START .. START + COUNT`` hold the running sums, one more than there are events:

    block     BASE ─┬───────────────────────────────────────┬─ BASE + CAP
    evicted         │░░░░░░░░│ live events, by (t, id) │    free
                           START            START + COUNT
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.plan import NEVER_US, ViewPlan

__all__ = [
    "IdTable",
    "PendingLabels",
    "Rings",
    "Slots",
    "empty_ids",
    "empty_pending",
    "empty_rings",
    "empty_slots",
    "power_of_two",
]

I64 = NDArray[np.int64]

BASE, CAP, START, COUNT, DIRTY, EMITTED, CHANGED, KEY = range(8)
"""Columns of Slots.meta; eight int64 are one cache line."""
USED, FREE, TOP, IDS, PENDING = range(5)
"""Places of the counters: slots ever used, head of the free list, arena in use, entries of the two id tables."""
GONE = -1
"""CAP of a free slot."""


class Slots(NamedTuple):
    """Keys. Shapes: K slots, a power of two of table places."""

    meta: I64
    """(K, 8) DIRTY: earliest instant the log must say again; EMITTED: instant it has reached (NULL: nothing yet);
    CHANGED: valid_from of the newest row. Of a free slot BASE is the next free one."""
    next_change: I64
    """(K,) instant the row expires; NULL: touched, its row must be written anew."""
    table: NDArray[np.int32]
    """Open addressing from key to slot, -1 empty; unused with text keys."""
    counters: I64


class Rings(NamedTuple):
    """The arena: A positions for I inputs, J of them nullable."""

    t: I64
    id: I64
    total: I64
    """(I, A) sum of the input over the events before this position."""
    seen: I64
    """(J, A) number of non-null values before this position."""


class IdTable(NamedTuple):
    """Open addressing from event id to the event. An entry outlives its event until the table is rebuilt."""

    id: I64
    t: I64
    slot: NDArray[np.int32]
    """-1 empty."""


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
        table=np.full(128, -1, dtype=np.int32),
        counters=np.array([0, -1, 0, 0, 0], dtype=np.int64),
    )


def empty_rings(plan: ViewPlan, size: int) -> Rings:
    """An arena of ``size`` positions."""
    nullable = sum(entry.nullable for entry in plan.inputs)
    return Rings(
        t=np.empty(size, dtype=np.int64),
        id=np.empty(size, dtype=np.int64),
        total=np.empty((len(plan.inputs), size), dtype=np.int64),
        seen=np.empty((nullable, size), dtype=np.int64),
    )


def empty_ids(size: int) -> IdTable:
    """An id table of ``size`` places, a power of two."""
    return IdTable(
        id=np.zeros(size, dtype=np.int64),
        t=np.zeros(size, dtype=np.int64),
        slot=np.full(size, -1, dtype=np.int32),
    )


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
