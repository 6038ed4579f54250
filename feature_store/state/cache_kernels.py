"""Kernels that bring the memory of many keys into the cache at once, just before it is worked on key by key.

Work on one key waits for its memory, line after line; here nothing depends on what is read, so the processor asks for
many lines at a time. What they return says nothing: it keeps the compiler from leaving the reads out.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64
from feature_store.state.state_arrays import COUNT, START

__all__ = ["TOGETHER", "bring_ends", "bring_histories"]

TOGETHER = 1024
"""Keys whose memory fits into the nearest large cache together."""
_MOST_LINES = 16
"""Of one history; the search for an edge goes to the others by itself."""
_WORDS = 8
"""In one line of the cache."""


@kernel
def bring_ends(events: I64, event_slots: NDArray[np.int32], meta: I64, next_change: I64, arena: I64) -> int:
    """Where events of these slots are put."""
    found, last = 0, arena.shape[0] - 1
    for e in events:
        found += meta[event_slots[e], START] + next_change[event_slots[e]]
    for e in events:
        slot = event_slots[e]
        end = meta[slot, START] + meta[slot, COUNT]
        # The event before, and the row behind the new one.
        found += arena[max(end - 1, 0), 0] + arena[min(end + 1, last), arena.shape[1] - 1]
    return found


@kernel
def bring_histories(slots: I64, meta: I64, next_change: I64, arena: I64) -> int:
    """Histories of these slots, from the first event on."""
    found, width = 0, arena.shape[1]
    step = max(1, _WORDS // width)
    for slot in slots:
        found += meta[slot, START] + next_change[slot]
    for slot in slots:
        start, count = meta[slot, START], meta[slot, COUNT]
        for k in range(0, min(count + 1, _MOST_LINES * step), step):
            found += arena[start + k, 0]
        found += arena[start + count, width - 1]
    return found
