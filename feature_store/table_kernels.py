"""Kernels of the hash tables: entity key to slot, event id to event, labels that wait for their event."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64, mix64
from feature_store.plan import NEVER_US, NULL
from feature_store.state_arrays import (
    BASE,
    CAP,
    CHANGED,
    COUNT,
    DIRTY,
    EMITTED,
    EVENT,
    FREE,
    KEY,
    SLOT,
    START,
    TIME,
    USED,
    PendingLabels,
    Slots,
)

__all__ = [
    "find_slots",
    "id_home",
    "id_place",
    "live_ids",
    "pending_label",
    "rebuild_ids",
    "rebuild_keys",
    "rebuild_pending",
    "take_slot",
]

_TOGETHER = 256
"""Keys looked up in turns."""


@kernel
def id_home(event_id: int, mask: int) -> np.int64:
    """Eight consecutive ids are neighbours in the table; the groups are spread."""
    return ((mix64(event_id >> 3) << 3) | (event_id & 7)) & mask


@kernel
def id_place(event_id: int, known: I64) -> np.int64:
    """Place of an id in the id table, or the empty one where it belongs."""
    mask = known.shape[0] - 1
    place = id_home(event_id, mask)
    while known[place, SLOT] >= 0 and known[place, EVENT] != event_id:
        place = (place + 1) & mask
    return place


@kernel
def take_slot(key: int, slots: Slots) -> int:
    """A clean slot for a new key; there must be room."""
    slot: int = slots.counters[FREE]
    if slot >= 0:
        slots.counters[FREE] = slots.meta[slot, BASE]
    else:
        slot = slots.counters[USED]
        slots.counters[USED] += 1
    slots.meta[slot, BASE] = slots.meta[slot, CAP] = slots.meta[slot, START] = slots.meta[slot, COUNT] = 0
    slots.meta[slot, DIRTY] = NEVER_US
    slots.meta[slot, EMITTED] = NULL
    slots.meta[slot, CHANGED] = NULL
    slots.meta[slot, KEY] = key
    slots.next_change[slot] = NEVER_US
    return slot


@allocating_kernel
def find_slots(keys: I64, slots: Slots) -> NDArray[np.int32]:
    """Slots of int64 keys, made for new ones; the table must have room."""
    meta, table = slots.meta, slots.table
    found = np.empty(keys.size, dtype=np.int32)
    places = np.empty(_TOGETHER, dtype=np.int64)
    mask = table.size - 1
    for first in range(0, keys.size, _TOGETHER):
        number = min(_TOGETHER, keys.size - first)
        # In turns, so that the processor waits for the memory of many keys at once.
        for k in range(number):
            places[k] = mix64(keys[first + k]) & mask
        for k in range(number):
            found[first + k] = table[places[k]]
        for k in range(number):
            # The last slot stands in where there is none; its key decides nothing then.
            places[k] = ~places[k] if meta[found[first + k], KEY] == keys[first + k] else places[k]
        for k in range(number):
            if places[k] < 0 and found[first + k] >= 0:
                continue
            place = places[k] if places[k] >= 0 else ~places[k]
            while table[place] >= 0 and meta[table[place], KEY] != keys[first + k]:
                place = (place + 1) & mask
            if table[place] < 0:
                table[place] = take_slot(keys[first + k], slots)
            found[first + k] = table[place]
    return found


@kernel
def rebuild_keys(slots: Slots, live: NDArray[np.bool_], table: NDArray[np.int32]) -> None:
    """Fill an empty key table with the live slots."""
    meta = slots.meta
    mask = table.size - 1
    for slot in range(live.size):
        if live[slot]:
            place = mix64(meta[slot, KEY]) & mask
            while table[place] >= 0:
                place = (place + 1) & mask
            table[place] = slot


@kernel
def live_ids(known: I64, oldest_us: int) -> int:
    """Entries not older than ``oldest_us``."""
    live = 0
    for place in range(known.shape[0]):
        live += known[place, SLOT] >= 0 and known[place, TIME] >= oldest_us
    return live


@kernel
def rebuild_ids(old: I64, new: I64, oldest_us: int) -> int:
    """Fill an empty id table with the entries not older than ``oldest_us``; returns their number."""
    mask, kept = new.shape[0] - 1, 0
    for source in range(old.shape[0]):
        if old[source, SLOT] >= 0 and old[source, TIME] >= oldest_us:
            place = id_home(old[source, EVENT], mask)
            while new[place, SLOT] >= 0:
                place = (place + 1) & mask
            for column in range(3):
                new[place, column] = old[source, column]
            kept += 1
    return kept


@kernel
def pending_place(event_id: int, pending_id: I64, pending_at: I64) -> np.int64:
    """Place of a waiting label, or the empty one where it belongs."""
    mask = pending_id.size - 1
    place = id_home(event_id, mask)
    while pending_at[place] != NEVER_US and pending_id[place] != event_id:
        place = (place + 1) & mask
    return place


@kernel
def pending_label(event_id: int, value: int, pending: PendingLabels, oldest_us: int) -> int:
    """The label that waits for an event since ``oldest_us`` or later, else ``value``."""
    place = pending_place(event_id, pending.id, pending.at)
    if pending.at[place] == NEVER_US or pending.at[place] < oldest_us:
        return value
    waiting: int = pending.value[place]
    return waiting


@kernel
def rebuild_pending(old: PendingLabels, new: PendingLabels, oldest_us: int) -> int:
    """Fill an empty table with the labels that came at ``oldest_us`` or later; returns their number."""
    kept = 0
    for source in range(old.id.size):
        if old.at[source] != NEVER_US and old.at[source] >= oldest_us:
            place = pending_place(old.id[source], new.id, new.at)
            new.id[place], new.value[place], new.at[place] = old.id[source], old.value[source], old.at[source]
            kept += 1
    return kept
