"""Kernels that change the events of a view's state: insert them, set their labels, keep the arena tidy."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64, ID, SUMS, Shape, T, begin, put, refold, upper_bound
from feature_store.plan import NEVER_US, NULL
from feature_store.state.state_arrays import (
    BASE,
    CAP,
    COUNT,
    DIRTY,
    EMITTED,
    FREE,
    GONE,
    PENDING,
    SLOT,
    START,
    TIME,
    TOP,
    USED,
    PendingLabels,
    Slots,
)
from feature_store.state.table_kernels import id_place, pending_place

__all__ = ["compact", "evict_idle", "insert", "load", "room_needed", "set_labels"]

_RUN = 64
"""Most events of a key that room is made for at once: whatever their number, an arena twice as large has it."""


@kernel
def touch(slot: int, dirty_us: int, watermark_us: int, meta: I64, next_change: I64) -> None:
    """Mark a key as changed from ``dirty_us`` on; its row is due at the next drain."""
    # A row that had not expired by the watermark was, in effect, already said up to it.
    if next_change[slot] > watermark_us and meta[slot, EMITTED] != NULL:
        meta[slot, EMITTED] = max(meta[slot, EMITTED], watermark_us)
    meta[slot, DIRTY] = min(meta[slot, DIRTY], dirty_us)
    next_change[slot] = NULL


@kernel
def make_room(slot: int, more: int, meta: I64, counters: I64, arena: I64, features: I64, folds: I64) -> bool:
    """Move a block to where ``more`` events fit behind those it has; False: the arena is full."""
    start, rows = meta[slot, START], meta[slot, COUNT] + 1
    target, cap = meta[slot, BASE], meta[slot, CAP]
    fresh = cap == 0
    if fresh or start - target < cap // 2 or rows + more > cap:
        cap = max(8, 2 * cap)
        while cap < rows + more:
            cap *= 2
        target = counters[TOP]
        if target + cap > arena.shape[0]:
            return False
        counters[TOP] += cap
    meta[slot, BASE], meta[slot, CAP], meta[slot, START] = target, cap, target
    if fresh:
        begin(arena, target, features, folds)
    else:
        # Downwards in memory or without overlap, so a loop upwards is safe.
        for k in range(rows):
            for column in range(arena.shape[1]):
                arena[target + k, column] = arena[start + k, column]
    return True


@kernel
def insert(
    begin: int,
    order: I64,
    event_slots: NDArray[np.int32],
    times: I64,
    ids: I64,
    inputs: I64,
    slots: Slots,
    arena: I64,
    shape: Shape,
    watermark_us: int,
    floor_us: int,
) -> int:
    """Insert the events ``order[begin:]``; returns where it stopped because the arena is full.

    Any order gives the same histories; those of a key together, by time, find its memory in the cache.

    Args:
        begin: first place of ``order``.
        order: events to insert.
        event_slots, times, ids, inputs: of every event.
        slots, arena, shape: of the view.
        watermark_us: where the view is.
        floor_us: the log does not say again what was before.
    """
    meta, next_change, reworked = slots.meta, slots.next_change, slots.reworked
    counters, seen = slots.counters, shape.seen
    features, folds = shape.features, shape.folds
    n = begin
    while n < order.size:
        slot, stop, furthest = event_slots[order[n]], n + 1, min(n + _RUN, order.size)
        while stop < furthest and event_slots[order[stop]] == slot:
            stop += 1
        rows = meta[slot, COUNT] + 1
        if meta[slot, START] + rows + stop - n > meta[slot, BASE] + meta[slot, CAP] and not make_room(
            slot, stop - n, meta, counters, arena, features, folds
        ):
            return n
        first = meta[slot, START]
        end = first + meta[slot, COUNT]
        dirty_us = NEVER_US
        for place in range(n, stop):
            e = order[place]
            t, event_id = times[e], ids[e]
            if end == first or arena[end - 1, T] < t or (arena[end - 1, T] == t and arena[end - 1, ID] < event_id):
                put(arena, end, t, event_id, inputs, e, seen, features, folds)
            else:
                put_between(arena, first, end, t, event_id, inputs, e, seen, features, folds)
                reworked[slot] = min(reworked[slot], t)
            end += 1
            dirty_us = min(dirty_us, t)
        meta[slot, COUNT] = end - first
        touch(slot, max(dirty_us, floor_us), watermark_us, meta, next_change)
        n = stop
    return order.size


@kernel
def put_between(
    arena: I64,
    first: int,
    end: int,
    t: int,
    event_id: int,
    inputs: I64,
    e: int,
    seen: I64,
    features: I64,
    folds: I64,
) -> None:
    """Write a late event into its place: what is behind it moves up by a row, its sums by the event's values."""
    position = end
    while position > first and (
        arena[position - 1, T] > t or (arena[position - 1, T] == t and arena[position - 1, ID] > event_id)
    ):
        position -= 1
    for k in range(end, position - 1, -1):
        for column in range(arena.shape[1]):
            arena[k + 1, column] = arena[k, column]
    put(arena, position, t, event_id, inputs, e, seen, features, folds)
    for i in range(inputs.shape[0]):
        value = inputs[i, e]
        if value != NULL:
            for k in range(position + 2, end + 2):
                arena[k, SUMS + i] += value
                if seen[i] >= 0:
                    arena[k, seen[i]] += 1
    if folds.size > 0:
        for k in range(position + 1, end + 1):
            refold(arena, k, features, folds)


@kernel
def set_labels(
    ids: I64,
    values: I64,
    slots: Slots,
    arena: I64,
    known: I64,
    pending: PendingLabels,
    shape: Shape,
    label_input: int,
    label_enter_us: int,
    since_us: int,
    watermark_us: int,
    lateness_us: int,
    retention_us: int,
    labelled: NDArray[np.int32],
) -> int:
    """Set labels and return how many changed; those of unknown events wait in ``pending`` from ``since_us`` on.

    ``pending`` must have room. ``labelled`` begins with the slots of those that changed.
    """
    meta, next_change, reworked, counters = slots.meta, slots.next_change, slots.reworked, slots.counters
    pending_id, pending_value, pending_at = pending.id, pending.value, pending.at
    features, folds = shape.features, shape.folds
    total, seen = SUMS + label_input, shape.seen[label_input]
    changed = 0
    for e in range(ids.size):
        place = id_place(ids[e], known)
        slot, t = known[place, SLOT], known[place, TIME]
        if slot < 0 or t < watermark_us - retention_us:
            place = pending_place(ids[e], pending_id, pending_at)
            if pending_at[place] == NEVER_US:
                counters[PENDING] += 1
            pending_id[place], pending_value[place], pending_at[place] = ids[e], values[e], since_us
            continue
        end = meta[slot, START] + meta[slot, COUNT]
        position = upper_bound(arena, meta[slot, START], end, t - 1)
        while arena[position, ID] != ids[e]:
            position += 1
        value, present = (0, 0) if values[e] == NULL else (values[e], 1)
        more = value - (arena[position + 1, total] - arena[position, total])
        newly = present - (arena[position + 1, seen] - arena[position, seen])
        if more == 0 and newly == 0:
            continue
        for k in range(position + 1, end + 1):
            arena[k, total] += more
            arena[k, seen] += newly
        if folds.size > 0:
            for k in range(position, end):
                refold(arena, k, features, folds)
        labelled[changed] = slot
        changed += 1
        reworked[slot] = min(reworked[slot], t)
        touch(slot, max(t + label_enter_us, watermark_us - lateness_us), watermark_us, meta, next_change)
    return changed


@allocating_kernel
def evict_idle(slots: Slots, arena: I64, watermark_us: int, retention_us: int, keeps_keys: bool) -> NDArray[np.bool_]:
    """Drop old events of keys whose row is not due, and free keys left without any; True marks live slots.

    ``keeps_keys``: what a lifetime has added up stays, events or not.
    """
    meta, next_change, counters = slots.meta, slots.next_change, slots.counters
    live = np.zeros(counters[USED], dtype=np.bool_)
    for slot in range(counters[USED]):
        if meta[slot, CAP] == GONE:
            continue
        if next_change[slot] > watermark_us:
            end = meta[slot, START] + meta[slot, COUNT]
            meta[slot, START] = upper_bound(arena, meta[slot, START], end, watermark_us - retention_us - 1)
            meta[slot, COUNT] = end - meta[slot, START]
            if meta[slot, COUNT] == 0 and not keeps_keys:
                meta[slot, CAP], next_change[slot] = GONE, NEVER_US
                meta[slot, BASE], counters[FREE] = counters[FREE], slot
                continue
        live[slot] = True
    return live


@kernel
def room_needed(slots: Slots) -> int:
    """Arena rows the blocks take when packed."""
    meta = slots.meta
    room = 0
    for slot in range(slots.counters[USED]):
        if meta[slot, CAP] > 0:
            room += _packed(meta[slot, COUNT])
    return room


@kernel
def _packed(count: int) -> int:
    cap = 8
    while cap < count + 2:
        cap *= 2
    return cap


@kernel
def compact(slots: Slots, old: I64, new: I64) -> None:
    """Copy all blocks, packed, into another arena."""
    meta = slots.meta
    top = 0
    for slot in range(slots.counters[USED]):
        if meta[slot, CAP] > 0:
            start, count = meta[slot, START], meta[slot, COUNT]
            for k in range(count + 1):
                for column in range(old.shape[1]):
                    new[top + k, column] = old[start + k, column]
            meta[slot, BASE] = meta[slot, START] = top
            meta[slot, CAP] = _packed(count)
            top += meta[slot, CAP]
    slots.counters[TOP] = top


@kernel
def load(counts: I64, t: I64, ids: I64, inputs: I64, base: I64, shape: Shape, slots: Slots, arena: I64) -> None:
    """Fill the histories of a state whose slots are taken, in order, but empty; everything has room.

    ``base``: (n, C) lifetime cells before the events of each slot.
    """
    meta, seen = slots.meta, shape.seen
    features, folds, first_cell = shape.features, shape.folds, shape.base
    top, source = 0, 0
    for slot in range(counts.size):
        meta[slot, BASE] = meta[slot, START] = top
        meta[slot, CAP], meta[slot, COUNT] = _packed(counts[slot]), counts[slot]
        begin(arena, top, features, folds)
        for c in range(base.shape[1]):
            arena[top, first_cell + c] = base[slot, c]
        for k in range(counts[slot]):
            put(arena, top + k, t[source], ids[source], inputs, source, seen, features, folds)
            source += 1
        top += meta[slot, CAP]
    slots.counters[TOP] = top
