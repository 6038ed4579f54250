"""Kernels that read a view's state: the newest row of every due key, and the log of what changed since."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import GRID, I64, ID, SUMS, Shape, T, edge_at, edge_passes, upper_bound
from feature_store.plan import MAX_STATE_EVENTS, NEVER_US, NULL
from feature_store.sliding_kernels import MANY
from feature_store.state.state_arrays import CHANGED, COUNT, DIRTY, EMITTED, START, Slots
from feature_store.window_kernels import fill_column, fill_values, scratch_size

__all__ = ["log_bounds", "state_bounds", "write_base", "write_latest", "write_log", "write_state"]

_BLOCK = 4096
"""Rows brought together at most."""


@kernel
def _horizon(slot: int, meta: I64, arena: I64, watermark_us: int) -> int:
    """The instant a key's row is evaluated at: its last event or the watermark, whichever is later."""
    horizon: int = max(watermark_us, meta[slot, EMITTED])
    if meta[slot, COUNT] > 0:
        horizon = max(horizon, arena[meta[slot, START] + meta[slot, COUNT] - 1, T])
    return horizon


@kernel
def _log_start(slot: int, meta: I64) -> tuple[int, bool]:
    """Where the log goes on, and whether it says that very instant (again)."""
    emitted, dirty = meta[slot, EMITTED], meta[slot, DIRTY]
    if dirty <= emitted or emitted == NULL:
        return dirty, True
    return emitted, False


@kernel
def log_bounds(due: I64, shape: Shape, slots: Slots, arena: I64, watermark_us: int) -> int:
    """Room for the log rows of all due keys: their change points, coinciding or not."""
    meta, edges = slots.meta, shape.edges
    room = 0
    for slot in due:
        start, end = meta[slot, START], meta[slot, START] + meta[slot, COUNT]
        since, forced = _log_start(slot, meta)
        horizon = _horizon(slot, meta, arena, watermark_us)
        room += 1 if forced else 0
        for d in range(len(edges)):
            low = upper_bound(arena, start, end, edge_at(edges, d, since))
            room += upper_bound(arena, low, end, edge_at(edges, d, horizon)) - low
    return room


@kernel
def _most_events(due: I64, meta: I64) -> int:
    most = 0
    for slot in due:
        most = max(most, meta[slot, COUNT])
    return most


@allocating_kernel
def write_log(
    due: I64,
    shape: Shape,
    slots: Slots,
    arena: I64,
    peaks: I64,
    watermark_us: int,
    key_row: I64,
    valid_from: I64,
    valid_until: I64,
    values: NDArray[np.float64],
    sliding: I64 | None,
) -> int:
    """One row for each change point since the log's last instant, and from DIRTY on again; returns the rows.

    Rows of a key with many events are brought together and filled feature by feature, so that a long window need not
    be walked for each of them (:mod:`feature_store.sliding_kernels`).
    """
    meta, edges, features, empty = slots.meta, shape.edges, shape.features, shape.empty
    depth, most = len(edges), _most_events(due, meta)
    at = np.empty((1, depth), dtype=np.int64)
    gathered = np.empty((_BLOCK if sliding is not None and most >= MANY else 0, depth), dtype=np.int64)
    scratch = np.empty((1, scratch_size(most, shape.needs_scratch)), dtype=np.int64)
    written = 0
    for row in range(due.size):
        slot = due[row]
        start, end = meta[slot, START], meta[slot, START] + meta[slot, COUNT]
        horizon = _horizon(slot, meta, arena, watermark_us)
        instant, said = _log_start(slot, meta)
        for d in range(len(edges)):
            at[0, d] = upper_bound(arena, start, end, edge_at(edges, d, instant))
        first = filled = written
        gathers = sliding is not None and end - start >= MANY
        while True:
            if said:
                if gathers:
                    for d in range(depth):
                        gathered[written - filled, d] = at[0, d]
                else:
                    fill_values(features, empty, at, 0, arena, start, instant, peaks, scratch, values, written)
                key_row[written], valid_from[written] = row, instant
                if written > first:
                    valid_until[written - 1] = instant
                written += 1
                if sliding is not None and gathers and written - filled == _BLOCK:
                    _fill_rows(
                        features, empty, gathered, arena, start, valid_from[filled:written], peaks, scratch,
                        values[filled:written], sliding,
                    )  # fmt: skip
                    filled = written
            following = NEVER_US
            for d in range(len(edges)):
                if at[0, d] < end:
                    following = min(following, edge_passes(edges, d, arena[at[0, d], T]))
            if following > horizon:
                break
            instant, said = following, True
            for d in range(len(edges)):
                k, limit = at[0, d], edge_at(edges, d, instant)
                while k < end and arena[k, T] <= limit:
                    k += 1
                at[0, d] = k
        if written > first:
            valid_until[written - 1] = following
        if sliding is not None and gathers:
            _fill_rows(
                features, empty, gathered, arena, start, valid_from[filled:written], peaks, scratch,
                values[filled:written], sliding,
            )  # fmt: skip
    return written


@allocating_kernel
def _fill_rows(
    features: I64,
    empty: NDArray[np.float64],
    at: I64,
    arena: I64,
    start: int,
    instants: I64,
    peaks: I64,
    scratch: I64,
    values: NDArray[np.float64],
    sliding: I64,
) -> None:
    """Write rows of one key, by time; arguments as of ``fill_column``."""
    for f in range(features.shape[0] if instants.size > 0 else 0):
        fill_column(features, empty, f, at, 0, instants.size, arena, start, instants, peaks, scratch, values, sliding)


@allocating_kernel
def state_bounds(due: I64, slots: Slots, arena: I64, oldest_us: int, has_state: NDArray[np.bool_]) -> I64:
    """Where the state of each row begins, (n + 1,): events from ``oldest_us`` on, unless they are too many."""
    meta = slots.meta
    starts = np.zeros(due.size + 1, dtype=np.int64)
    for row in range(due.size):
        start, end = meta[due[row], START], meta[due[row], START] + meta[due[row], COUNT]
        while start < end and arena[start, T] < oldest_us:
            start += 1
        has_state[row] = end - start <= MAX_STATE_EVENTS
        starts[row + 1] = starts[row] + (end - start if has_state[row] else 0)
    return starts


@allocating_kernel
def write_latest(
    due: I64,
    shape: Shape,
    slots: Slots,
    arena: I64,
    peaks: I64,
    watermark_us: int,
    oldest_us: int,
    valid_from: I64,
    valid_until: I64,
    values: NDArray[np.float64],
    starts: I64,
    t: I64,
    ids: I64,
    inputs: I64,
    base: I64,
) -> None:
    """The newest row of each due key with its live events; the keys are clean afterwards, older events forgotten."""
    meta, next_change = slots.meta, slots.next_change
    edges, features, empty, seen = shape.edges, shape.features, shape.empty, shape.seen
    first_cell = shape.base
    at = np.empty((1, len(edges)), dtype=np.int64)
    scratch = np.empty((1, scratch_size(_most_events(due, meta), shape.needs_scratch)), dtype=np.int64)
    for row in range(due.size):
        slot = due[row]
        start, end = meta[slot, START], meta[slot, START] + meta[slot, COUNT]
        live = start
        while live < end and arena[live, T] < oldest_us:
            live += 1
        # Reading the events in order first brings them into the cache for the searches.
        copy_events(arena, live, starts[row], starts[row + 1], seen, t, ids, inputs)
        for c in range(base.shape[1]):
            base[row, c] = arena[live, first_cell + c]
        horizon = _horizon(slot, meta, arena, watermark_us)
        since, forced = _log_start(slot, meta)
        changed = max(meta[slot, CHANGED], since) if forced else meta[slot, CHANGED]
        following = NEVER_US
        below = end
        for d in range(len(edges)):
            # Of edges without a grid, which come first, each lies further back than the one before.
            below = upper_bound(arena, start, below if edges[d, GRID] == 0 else end, edge_at(edges, d, horizon))
            at[0, d] = below
            if below > start:
                changed = max(changed, edge_passes(edges, d, arena[below - 1, T]))
            if below < end:
                following = min(following, edge_passes(edges, d, arena[below, T]))
        fill_values(features, empty, at, 0, arena, start, changed, peaks, scratch, values, row)
        valid_from[row] = changed
        valid_until[row] = following
        meta[slot, START], meta[slot, COUNT] = live, end - live
        meta[slot, CHANGED] = changed
        meta[slot, EMITTED] = horizon
        meta[slot, DIRTY] = NEVER_US
        next_change[slot] = following


@kernel
def copy_events(arena: I64, first: int, start: int, end: int, seen: I64, t: I64, ids: I64, inputs: I64) -> None:
    """Events of the arena from row ``first`` on, as columns ``start:end``."""
    # Unsigned positions: with signed ones each access also asks whether it counts from the end.
    source, target, number, one = np.uint64(first), np.uint64(start), np.uint64(end - start), np.uint64(1)
    for k in range(number):
        t[target + k] = arena[source + k, T]
        ids[target + k] = arena[source + k, ID]
    for i in range(inputs.shape[0]):
        column = np.uint64(SUMS + i)
        before = arena[source, column]
        for k in range(number):
            after = arena[source + k + one, column]
            inputs[i, target + k] = after - before
            before = after
        if seen[i] >= 0:
            column = np.uint64(seen[i])
            before = arena[source, column]
            for k in range(number):
                after = arena[source + k + one, column]
                if after == before:
                    inputs[i, target + k] = NULL
                before = after


@kernel
def write_state(
    due: I64, skip: I64, shape: Shape, slots: Slots, arena: I64, starts: I64, t: I64, ids: I64, inputs: I64
) -> None:
    """The events of each slot but for the first ``skip`` of it, as columns."""
    meta, seen = slots.meta, shape.seen
    for row in range(due.size):
        first = meta[due[row], START] + skip[row]
        copy_events(arena, first, starts[row], starts[row + 1], seen, t, ids, inputs)


@kernel
def write_base(due: I64, shape: Shape, slots: Slots, arena: I64, base: I64) -> None:
    """The lifetime cells of each slot before its events."""
    meta, first_cell = slots.meta, shape.base
    for row in range(due.size):
        for c in range(base.shape[1]):
            base[row, c] = arena[meta[due[row], START], first_cell + c]
