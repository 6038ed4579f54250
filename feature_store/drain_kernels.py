"""Kernels that read a view's state: the newest row of every due key, and the log of what changed since."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64, Shape, fill_values, upper_bound
from feature_store.plan import MAX_STATE_EVENTS, NEVER_US, NULL
from feature_store.state_arrays import CHANGED, COUNT, DIRTY, EMITTED, START, USED, Rings, Slots

__all__ = ["due_slots", "log_bounds", "state_bounds", "write_latest", "write_log", "write_state"]


@kernel
def due_slots(slots: Slots, watermark_us: int) -> I64:
    """Slots whose row was touched, or has expired by the watermark."""
    number = 0
    for slot in range(slots.counters[USED]):
        number += slots.next_change[slot] <= watermark_us
    due = np.empty(number, dtype=np.int64)
    number = 0
    for slot in range(slots.counters[USED]):
        if slots.next_change[slot] <= watermark_us:
            due[number] = slot
            number += 1
    return due


@kernel
def horizon_of(slot: int, slots: Slots, rings: Rings, watermark_us: int) -> int:
    """The instant a key's row is evaluated at: its last event or the watermark, whichever is later."""
    meta = slots.meta[slot]
    horizon: int = max(watermark_us, meta[EMITTED])
    if meta[COUNT] > 0:
        horizon = max(horizon, rings.t[meta[START] + meta[COUNT] - 1])
    return horizon


@kernel
def _log_start(slot: int, slots: Slots) -> tuple[int, bool]:
    """Where the log goes on, and whether it says that very instant (again)."""
    emitted, dirty = slots.meta[slot, EMITTED], slots.meta[slot, DIRTY]
    if dirty <= emitted or emitted == NULL:
        return dirty, True
    return emitted, False


@kernel
def log_bounds(due: I64, shape: Shape, slots: Slots, rings: Rings, watermark_us: int) -> I64:
    """(n + 1,) where the log rows of each due key may begin: room for its change points, coinciding or not."""
    starts = np.zeros(due.size + 1, dtype=np.int64)
    for row in range(due.size):
        slot = due[row]
        meta = slots.meta[slot]
        end = meta[START] + meta[COUNT]
        since, forced = _log_start(slot, slots)
        horizon = horizon_of(slot, slots, rings, watermark_us)
        room = 1 if forced else 0
        for d in range(shape.offsets.size):
            low = upper_bound(rings.t, meta[START], end, since - shape.offsets[d])
            room += upper_bound(rings.t, low, end, horizon - shape.offsets[d]) - low
        starts[row + 1] = starts[row] + room
    return starts


@kernel
def write_log(
    due: I64,
    shape: Shape,
    slots: Slots,
    rings: Rings,
    watermark_us: int,
    starts: I64,
    key_row: I64,
    valid_from: I64,
    valid_until: I64,
    values: NDArray[np.float64],
) -> int:
    """One row for each change point since the log's last instant, and from DIRTY on again; returns the rows.

    Rows are packed: ``starts`` is only the room they were given.
    """
    at = np.empty(shape.offsets.size, dtype=np.int64)
    written = 0
    for row in range(due.size):
        if starts[row + 1] == starts[row]:
            continue
        slot = due[row]
        meta = slots.meta[slot]
        end = meta[START] + meta[COUNT]
        horizon = horizon_of(slot, slots, rings, watermark_us)
        instant, said = _log_start(slot, slots)
        for d in range(shape.offsets.size):
            at[d] = upper_bound(rings.t, meta[START], end, instant - shape.offsets[d])
        first = written
        while True:
            if said:
                fill_values(shape, at, rings.total, rings.seen, values[written])
                key_row[written], valid_from[written] = row, instant
                if written > first:
                    valid_until[written - 1] = instant
                written += 1
            following = NEVER_US
            for d in range(shape.offsets.size):
                if at[d] < end:
                    following = min(following, rings.t[at[d]] + shape.offsets[d])
            if following > horizon:
                break
            instant, said = following, True
            for d in range(shape.offsets.size):
                while at[d] < end and rings.t[at[d]] + shape.offsets[d] <= instant:
                    at[d] += 1
        if written > first:
            valid_until[written - 1] = following
    return written


@kernel
def write_latest(
    due: I64,
    shape: Shape,
    slots: Slots,
    rings: Rings,
    watermark_us: int,
    valid_from: I64,
    valid_until: I64,
    values: NDArray[np.float64],
) -> None:
    """The newest row of each due key; the keys are clean afterwards."""
    at = np.empty(shape.offsets.size, dtype=np.int64)
    for row in range(due.size):
        slot = due[row]
        meta = slots.meta[slot]
        start, end = meta[START], meta[START] + meta[COUNT]
        horizon = horizon_of(slot, slots, rings, watermark_us)
        since, forced = _log_start(slot, slots)
        changed = max(meta[CHANGED], since) if forced else meta[CHANGED]
        following = NEVER_US
        limit = end
        for d in range(shape.offsets.size):
            offset = shape.offsets[d]
            limit = upper_bound(rings.t, start, limit, horizon - offset)
            at[d] = limit
            if limit > start:
                changed = max(changed, rings.t[limit - 1] + offset)
            if limit < end:
                following = min(following, rings.t[limit] + offset)
        fill_values(shape, at, rings.total, rings.seen, values[row])
        meta[CHANGED] = valid_from[row] = changed
        slots.next_change[slot] = valid_until[row] = following
        meta[EMITTED], meta[DIRTY] = horizon, NEVER_US


@kernel
def state_bounds(due: I64, slots: Slots, rings: Rings, oldest_us: int, has_state: NDArray[np.bool_]) -> I64:
    """Forget events before ``oldest_us`` and say where the state of each row begins, (n + 1,)."""
    starts = np.zeros(due.size + 1, dtype=np.int64)
    for row in range(due.size):
        meta = slots.meta[due[row]]
        end = meta[START] + meta[COUNT]
        meta[START] = upper_bound(rings.t, meta[START], end, oldest_us - 1)
        meta[COUNT] = end - meta[START]
        has_state[row] = meta[COUNT] <= MAX_STATE_EVENTS
        starts[row + 1] = starts[row] + (meta[COUNT] if has_state[row] else 0)
    return starts


@kernel
def write_state(due: I64, shape: Shape, slots: Slots, rings: Rings, starts: I64, t: I64, ids: I64, inputs: I64) -> None:
    """The live events of each row."""
    for row in range(due.size):
        source, target = slots.meta[due[row], START], starts[row]
        number = starts[row + 1] - target
        for k in range(number):
            t[target + k] = rings.t[source + k]
        for k in range(number):
            ids[target + k] = rings.id[source + k]
        for i in range(inputs.shape[0]):
            for k in range(number):
                inputs[i, target + k] = rings.total[i, source + k + 1] - rings.total[i, source + k]
            j = shape.seen_row[i]
            if j >= 0:
                for k in range(number):
                    if rings.seen[j, source + k + 1] == rings.seen[j, source + k]:
                        inputs[i, target + k] = NULL
