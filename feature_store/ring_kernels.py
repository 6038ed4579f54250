"""Kernels that change the events of a view's state: insert them, set their labels, keep the arena tidy."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64, upper_bound
from feature_store.plan import NEVER_US, NULL
from feature_store.state_arrays import (
    BASE,
    CAP,
    COUNT,
    DIRTY,
    EMITTED,
    FREE,
    GONE,
    IDS,
    PENDING,
    START,
    TOP,
    USED,
    IdTable,
    PendingLabels,
    Rings,
    Slots,
)
from feature_store.table_kernels import id_home, pending_label

__all__ = ["compact", "evict_idle", "insert", "load", "room_needed", "set_labels"]


@kernel
def touch(slot: int, dirty_us: int, watermark_us: int, slots: Slots) -> None:
    """Mark a key as changed from ``dirty_us`` on; its row is due at the next drain."""
    meta = slots.meta[slot]
    # A row that had not expired by the watermark was, in effect, already said up to it.
    if slots.next_change[slot] > watermark_us and meta[EMITTED] != NULL:
        meta[EMITTED] = max(meta[EMITTED], watermark_us)
    meta[DIRTY] = min(meta[DIRTY], dirty_us)
    slots.next_change[slot] = NULL


@kernel
def make_room(slot: int, slots: Slots, rings: Rings) -> bool:
    """Make place for one more event in the slot's block; False: the arena is full."""
    meta = slots.meta[slot]
    start, used = meta[START], meta[COUNT] + 1
    if start + used < meta[BASE] + meta[CAP]:
        return True
    target, cap = meta[BASE], meta[CAP]
    if cap == 0 or start - target < cap // 2:
        cap = max(8, 2 * cap)
        target = slots.counters[TOP]
        if target + cap > rings.t.size:
            return False
        slots.counters[TOP] += cap
    fresh = meta[CAP] == 0
    meta[BASE], meta[CAP], meta[START] = target, cap, target
    if fresh:
        rings.total[:, target] = 0
        rings.seen[:, target] = 0
    else:
        _move(start, target, used, rings)
    return True


@kernel
def _move(source: int, target: int, used: int, rings: Rings) -> None:
    """Move ``used - 1`` events and ``used`` running sums; upwards in memory or without overlap."""
    for k in range(used - 1):
        rings.t[target + k] = rings.t[source + k]
        rings.id[target + k] = rings.id[source + k]
    for i in range(rings.total.shape[0]):
        for k in range(used):
            rings.total[i, target + k] = rings.total[i, source + k]
    for j in range(rings.seen.shape[0]):
        for k in range(used):
            rings.seen[j, target + k] = rings.seen[j, source + k]


@kernel
def insert(
    begin: int,
    event_slots: NDArray[np.int32],
    times: I64,
    ids: I64,
    inputs: I64,
    slots: Slots,
    rings: Rings,
    known: IdTable,
    pending: PendingLabels,
    seen_row: I64,
    label_input: int,
    watermark_us: int,
    lateness_us: int,
    retention_us: int,
    outcome: NDArray[np.int8],
) -> int:
    """Insert events from position ``begin`` on; returns where it stopped because the arena is full.

    ``outcome``: 0 applied, 1 duplicate, 2 older than what is kept.
    """
    oldest = watermark_us - retention_us
    mask = known.id.size - 1
    for e in range(begin, times.size):
        t, event_id, slot = times[e], ids[e], event_slots[e]
        if t < oldest:
            outcome[e] = 2
            continue
        place = id_home(event_id, mask)
        while known.slot[place] >= 0 and known.id[place] != event_id:
            place = (place + 1) & mask
        if known.slot[place] >= 0 and known.t[place] >= oldest:
            outcome[e] = 1
            continue
        if not make_room(slot, slots, rings):
            return e
        if known.slot[place] < 0:
            slots.counters[IDS] += 1
        known.id[place], known.t[place], known.slot[place] = event_id, t, slot
        outcome[e] = 0
        meta = slots.meta[slot]
        first, end = meta[START], meta[START] + meta[COUNT]
        position = end
        while position > first and (
            rings.t[position - 1] > t or (rings.t[position - 1] == t and rings.id[position - 1] > event_id)
        ):
            rings.t[position] = rings.t[position - 1]
            rings.id[position] = rings.id[position - 1]
            position -= 1
        rings.t[position], rings.id[position] = t, event_id
        for i in range(inputs.shape[0]):
            value = inputs[i, e]
            if i == label_input and slots.counters[PENDING] > 0:
                value = pending_label(event_id, value, pending, watermark_us - lateness_us)
            _raise_from(position, end, i, seen_row[i], 0 if value == NULL else value, 0 if value == NULL else 1, rings)
        meta[COUNT] += 1
        touch(slot, max(t, watermark_us - lateness_us), watermark_us, slots)
    return times.size


@kernel
def _raise_from(position: int, end: int, i: int, row: int, value: int, present: int, rings: Rings) -> None:
    """Running sums after a new event at ``position``: those behind it move up by one and by its value."""
    for k in range(end, position - 1, -1):
        rings.total[i, k + 1] = rings.total[i, k] + value
    if row >= 0:
        for k in range(end, position - 1, -1):
            rings.seen[row, k + 1] = rings.seen[row, k] + present


@kernel
def set_labels(
    ids: I64,
    values: I64,
    slots: Slots,
    rings: Rings,
    known: IdTable,
    pending: PendingLabels,
    label_input: int,
    seen_row: int,
    label_enter_us: int,
    watermark_us: int,
    lateness_us: int,
    retention_us: int,
) -> int:
    """Set labels and return how many changed; those of unknown events wait in ``pending``, which must have room."""
    changed = 0
    mask, waiting_mask = known.id.size - 1, pending.id.size - 1
    for e in range(ids.size):
        place = id_home(ids[e], mask)
        while known.slot[place] >= 0 and known.id[place] != ids[e]:
            place = (place + 1) & mask
        if known.slot[place] < 0 or known.t[place] < watermark_us - retention_us:
            place = id_home(ids[e], waiting_mask)
            while pending.at[place] != NEVER_US and pending.id[place] != ids[e]:
                place = (place + 1) & waiting_mask
            if pending.at[place] == NEVER_US:
                slots.counters[PENDING] += 1
            pending.id[place], pending.value[place], pending.at[place] = ids[e], values[e], watermark_us
            continue
        slot, t = known.slot[place], known.t[place]
        meta = slots.meta[slot]
        end = meta[START] + meta[COUNT]
        position = upper_bound(rings.t, meta[START], end, t - 1)
        while rings.id[position] != ids[e]:
            position += 1
        value, present = (0, 0) if values[e] == NULL else (values[e], 1)
        more = value - (rings.total[label_input, position + 1] - rings.total[label_input, position])
        newly = present - (rings.seen[seen_row, position + 1] - rings.seen[seen_row, position])
        if more == 0 and newly == 0:
            continue
        for k in range(position + 1, end + 1):
            rings.total[label_input, k] += more
            rings.seen[seen_row, k] += newly
        changed += 1
        touch(slot, max(t + label_enter_us, watermark_us - lateness_us), watermark_us, slots)
    return changed


@kernel
def evict_idle(slots: Slots, rings: Rings, watermark_us: int, retention_us: int) -> NDArray[np.bool_]:
    """Drop old events of keys whose row is not due, and free keys left without any; True marks live slots."""
    live = np.zeros(slots.counters[USED], dtype=np.bool_)
    for slot in range(slots.counters[USED]):
        meta = slots.meta[slot]
        if meta[CAP] == GONE:
            continue
        if slots.next_change[slot] > watermark_us:
            end = meta[START] + meta[COUNT]
            meta[START] = upper_bound(rings.t, meta[START], end, watermark_us - retention_us - 1)
            meta[COUNT] = end - meta[START]
            if meta[COUNT] == 0:
                meta[CAP], slots.next_change[slot] = GONE, NEVER_US
                meta[BASE], slots.counters[FREE] = slots.counters[FREE], slot
                continue
        live[slot] = True
    return live


@kernel
def room_needed(slots: Slots) -> int:
    """Arena positions the blocks take when packed."""
    room = 0
    for slot in range(slots.counters[USED]):
        if slots.meta[slot, CAP] > 0:
            room += _packed(slots.meta[slot, COUNT])
    return room


@kernel
def _packed(count: int) -> int:
    cap = 8
    while cap < count + 2:
        cap *= 2
    return cap


@kernel
def compact(slots: Slots, old: Rings, new: Rings) -> None:
    """Copy all blocks, packed, into another arena."""
    top = 0
    for slot in range(slots.counters[USED]):
        meta = slots.meta[slot]
        if meta[CAP] > 0:
            start, count = meta[START], meta[COUNT]
            new.t[top : top + count] = old.t[start : start + count]
            new.id[top : top + count] = old.id[start : start + count]
            new.total[:, top : top + count + 1] = old.total[:, start : start + count + 1]
            new.seen[:, top : top + count + 1] = old.seen[:, start : start + count + 1]
            meta[BASE] = meta[START] = top
            meta[CAP] = _packed(count)
            top += meta[CAP]
    slots.counters[TOP] = top


@kernel
def load(counts: I64, t: I64, ids: I64, inputs: I64, seen_row: I64, slots: Slots, rings: Rings, known: IdTable) -> None:
    """Fill a state whose slots are taken, in order, but empty; everything must have room."""
    top, source = 0, 0
    mask = known.id.size - 1
    for slot in range(counts.size):
        meta = slots.meta[slot]
        meta[BASE] = meta[START] = top
        meta[CAP], meta[COUNT] = _packed(counts[slot]), counts[slot]
        rings.total[:, top] = 0
        rings.seen[:, top] = 0
        for k in range(counts[slot]):
            rings.t[top + k], rings.id[top + k] = t[source + k], ids[source + k]
            for i in range(inputs.shape[0]):
                value = inputs[i, source + k]
                rings.total[i, top + k + 1] = rings.total[i, top + k] + (0 if value == NULL else value)
                if seen_row[i] >= 0:
                    row = seen_row[i]
                    rings.seen[row, top + k + 1] = rings.seen[row, top + k] + (0 if value == NULL else 1)
            place = id_home(ids[source + k], mask)
            while known.slot[place] >= 0 and known.id[place] != ids[source + k]:
                place = (place + 1) & mask
            if known.slot[place] < 0:
                slots.counters[IDS] += 1
            # Of two events with one id only the younger can still be alive.
            if known.slot[place] < 0 or known.t[place] < t[source + k]:
                known.id[place], known.t[place], known.slot[place] = ids[source + k], t[source + k], slot
        source += counts[slot]
        top += meta[CAP]
    slots.counters[TOP] = top
