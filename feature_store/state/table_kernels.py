"""Kernels of the hash tables: entity key to slot, event id to event, labels that wait for their event."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64, mix64
from feature_store.plan import NEVER_US, NULL
from feature_store.state.state_arrays import (
    BASE,
    CAP,
    CHANGED,
    COUNT,
    DIRTY,
    EMITTED,
    EVENT,
    FREE,
    IDS,
    KEY,
    PENDING,
    SLOT,
    START,
    TIME,
    USED,
    PendingLabels,
    Slots,
)

__all__ = [
    "admit",
    "find_slots",
    "id_home",
    "id_place",
    "note_ids",
    "pending_label",
    "purge_ids",
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
def admit(
    event_slots: NDArray[np.int32],
    times: I64,
    ids: I64,
    inputs: I64,
    counters: I64,
    known: I64,
    pending: PendingLabels,
    label_input: int,
    oldest_us: int,
    floor_us: int,
    outcome: NDArray[np.int8],
) -> None:
    """Note the ids of events in their order, and say which are to be applied.

    Args:
        event_slots, times, ids: of each event.
        inputs: takes the labels that waited.
        counters: of the slots.
        known: the id table; it must have room.
        pending: labels that wait since ``floor_us`` or later are given to their events.
        label_input: row of ``inputs`` for labels; negative without.
        oldest_us: what is older is forgotten.
        floor_us: see ``pending``.
        outcome: written: 0 apply, 1 duplicate, 2 older than what is kept.
    """
    labels_wait = label_input >= 0 and counters[PENDING] > 0
    for e in range(times.size):
        if times[e] < oldest_us:
            outcome[e] = 2
            continue
        place = id_place(ids[e], known)
        if known[place, SLOT] >= 0:
            if known[place, TIME] >= oldest_us:
                outcome[e] = 1
                continue
        else:
            counters[IDS] += 1
        known[place, EVENT], known[place, TIME], known[place, SLOT] = ids[e], times[e], event_slots[e]
        outcome[e] = 0
        if labels_wait:
            inputs[label_input, e] = pending_label(ids[e], inputs[label_input, e], pending, floor_us)


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
def purge_ids(known: I64, oldest_us: int) -> int:
    """Take the entries older than ``oldest_us`` out of the table, which has an empty place; returns how many stay."""
    mask, kept, begin = known.shape[0] - 1, 0, 0
    while known[begin, SLOT] >= 0:
        begin += 1
    # From behind an empty place on, every entry goes to where it belongs now: never further back than it stood.
    for step in range(1, known.shape[0]):
        source = (begin + step) & mask
        slot, t = known[source, SLOT], known[source, TIME]
        if slot < 0:
            continue
        known[source, SLOT] = -1
        if t >= oldest_us:
            place = id_place(known[source, EVENT], known)
            known[place, EVENT], known[place, TIME], known[place, SLOT] = known[source, EVENT], t, slot
            kept += 1
    return kept


@kernel
def rebuild_ids(old: I64, new: I64) -> None:
    """Fill an empty id table with the entries of another."""
    mask = new.shape[0] - 1
    for source in range(old.shape[0]):
        if old[source, SLOT] >= 0:
            place = id_home(old[source, EVENT], mask)
            while new[place, SLOT] >= 0:
                place = (place + 1) & mask
            for column in range(3):
                new[place, column] = old[source, column]


@allocating_kernel
def note_ids(counts: I64, t: I64, ids: I64, known: I64) -> int:
    """Fill an empty id table with the events of slots, ``counts`` of each; returns how many ids there are."""
    mask, noted, slot, end = known.shape[0] - 1, 0, -1, 0
    places, there = np.empty(_TOGETHER, dtype=np.int64), np.empty(_TOGETHER, dtype=np.int64)
    for first in range(0, ids.size, _TOGETHER):
        number = min(_TOGETHER, ids.size - first)
        # In turns, as in find_slots.
        for k in range(number):
            places[k] = id_home(ids[first + k], mask)
        for k in range(number):
            there[k] = known[places[k], SLOT]
        for k in range(number):
            source, place = first + k, places[k]
            while source >= end:
                slot += 1
                end += counts[slot]
            # What was there may be another id, and an empty place may have been taken since.
            if there[k] >= 0 or known[place, SLOT] >= 0:
                place = id_place(ids[source], known)
            if known[place, SLOT] < 0:
                noted += 1
            # Of two events with one id only the younger can still be alive.
            elif known[place, TIME] >= t[source]:
                continue
            known[place, EVENT], known[place, TIME], known[place, SLOT] = ids[source], t[source], slot
    return noted


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
