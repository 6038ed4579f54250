"""What changed of a view's memory, as plain arrays: a piece of a snapshot that follows what changed, not the state.

slots, gone        slots that changed: of keys that are held, and of no key any more
count, kept        events of each slot, and how many of the first of them are as they were
from_us            those are the last ones earlier than this of the state before; NULL when none is kept
event_*            the other events
pending_*          labels that wait; those of before ``pending_from`` have gone
all others         as in :mod:`feature_store.state.view_snapshot`, of the slots
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.plan import ViewPlan
from feature_store.state import change_kernels
from feature_store.state.state_memory import StateMemory
from feature_store.state.view_snapshot import pack_slots

__all__ = ["pack_changes"]


def pack_changes(plan: ViewPlan, memory: StateMemory) -> dict[str, NDArray[np.generic]]:
    """Arrays of what changed since this was called last, or the memory was unpacked or made."""
    slots, changes = memory.slots, memory.changes
    # What was touched and not drained yet; drains noted the others.
    changes.touch(memory.due.touched)
    touched = np.flatnonzero(changes.touched[: memory.used]).astype(np.int64, copy=False)
    is_held = memory.holds(touched)
    held = touched[is_held]
    from_us = np.minimum(changes.newest_us[held], slots.reworked[held])
    kept = np.empty(len(held), dtype=np.int64)
    change_kernels.unchanged_events(held, from_us, slots, memory.arena, kept)
    arrays = pack_slots(plan, memory, held, kept, labels_since_us=changes.labels_since_us)
    arrays |= {
        "slots": held,
        "gone": touched[~is_held],
        "kept": kept,
        "from_us": from_us,
        "pending_from": np.array([changes.labels_dropped_us], dtype=np.int64),
    }
    memory.mark_taken(touched)
    return arrays
