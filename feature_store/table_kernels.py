"""Kernels of the hash tables: entity key to slot, event id to event, labels that wait for their event."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64, mix64
from feature_store.plan import NEVER_US, NULL
from feature_store.state_arrays import (
    BASE,
    CHANGED,
    COUNT,
    DIRTY,
    EMITTED,
    FREE,
    KEY,
    USED,
    IdTable,
    PendingLabels,
    Slots,
)

__all__ = [
    "find_slots",
    "id_home",
    "pending_label",
    "rebuild_ids",
    "rebuild_keys",
    "rebuild_pending",
    "take_slot",
]


@kernel
def id_home(event_id: int, mask: int) -> np.int64:
    """Eight consecutive ids share a cache line of the table; the groups are spread."""
    return ((mix64(event_id >> 3) << 3) | (event_id & 7)) & mask


@kernel
def take_slot(key: int, slots: Slots) -> int:
    """A clean slot for a new key; there must be room."""
    slot: int = slots.counters[FREE]
    if slot >= 0:
        slots.counters[FREE] = slots.meta[slot, BASE]
    else:
        slot = slots.counters[USED]
        slots.counters[USED] += 1
    slots.meta[slot, : COUNT + 1] = 0
    slots.meta[slot, DIRTY] = NEVER_US
    slots.meta[slot, EMITTED] = NULL
    slots.meta[slot, CHANGED] = NULL
    slots.meta[slot, KEY] = key
    slots.next_change[slot] = NEVER_US
    return slot


@kernel
def find_slots(keys: I64, slots: Slots) -> NDArray[np.int32]:
    """Slots of int64 keys, made for new ones; the table must have room."""
    found = np.empty(keys.size, dtype=np.int32)
    mask = slots.table.size - 1
    for e in range(keys.size):
        place = mix64(keys[e]) & mask
        while True:
            slot = slots.table[place]
            if slot < 0:
                slot = take_slot(keys[e], slots)
                slots.table[place] = slot
                break
            if slots.meta[slot, KEY] == keys[e]:
                break
            place = (place + 1) & mask
        found[e] = slot
    return found


@kernel
def rebuild_keys(slots: Slots, live: NDArray[np.bool_], table: NDArray[np.int32]) -> None:
    """Fill an empty key table with the live slots."""
    mask = table.size - 1
    for slot in range(slots.counters[USED]):
        if live[slot]:
            place = mix64(slots.meta[slot, KEY]) & mask
            while table[place] >= 0:
                place = (place + 1) & mask
            table[place] = slot


@kernel
def pending_label(event_id: int, value: int, pending: PendingLabels, oldest_us: int) -> int:
    mask = pending.id.size - 1
    place = id_home(event_id, mask)
    while pending.at[place] != NEVER_US:
        if pending.id[place] == event_id:
            return pending.value[place] if pending.at[place] >= oldest_us else value
        place = (place + 1) & mask
    return value


@kernel
def rebuild_ids(old: IdTable, new: IdTable, oldest_us: int) -> int:
    """Fill an empty id table with the entries not older than ``oldest_us``; returns their number."""
    mask, kept = new.id.size - 1, 0
    for source in range(old.id.size):
        if old.slot[source] >= 0 and old.t[source] >= oldest_us:
            place = id_home(old.id[source], mask)
            while new.slot[place] >= 0:
                place = (place + 1) & mask
            new.id[place], new.t[place], new.slot[place] = old.id[source], old.t[source], old.slot[source]
            kept += 1
    return kept


@kernel
def rebuild_pending(old: PendingLabels, new: PendingLabels, oldest_us: int) -> int:
    """Fill an empty table with the labels that came at ``oldest_us`` or later; returns their number."""
    mask, kept = new.id.size - 1, 0
    for source in range(old.id.size):
        if old.at[source] != NEVER_US and old.at[source] >= oldest_us:
            place = id_home(old.id[source], mask)
            while new.at[place] != NEVER_US:
                place = (place + 1) & mask
            new.id[place], new.value[place], new.at[place] = old.id[source], old.value[source], old.at[source]
            kept += 1
    return kept
