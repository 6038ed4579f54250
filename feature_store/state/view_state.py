"""The live state of one view for one partition of its keyed log: columns in, feature rows out; no I/O.

    state.apply(keys, times_us, ids, inputs)     events of a batch
    state.label(ids, values)                     outcomes that became known
    state.advance(watermark_us)                  event time up to which rows must be right
    drained = state.drain(log=True)              rows to write

Call ``drain`` after each ``advance``, before the next ``apply``: what expired in between is then logged as it was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store import query_kernels
from feature_store.kernel_cache import plain
from feature_store.kernels import I64, shape_of
from feature_store.plan import NULL, ViewPlan
from feature_store.rows import RowBatch
from feature_store.state import cache_kernels, drain_kernels, ring_kernels, table_kernels
from feature_store.state.state_memory import StateMemory
from feature_store.state.view_changes import pack_changes
from feature_store.state.view_snapshot import pack, unpack
from feature_store.window_kernels import raise_peaks, sliding_of

__all__ = ["BEGINNING_US", "Applied", "Drained", "ViewState"]

BEGINNING_US = -(2**62)
"""Watermark before any event; far from the edge of int64, so durations can be subtracted."""
_SWEEPS_PER_RETENTION = 4
"""How often keys without new events are looked through; bounds dead memory to a quarter of the live."""

_SLOTS_PER_EVENT = 4
"""With more slots than that, counting them costs more than the cache gives back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of the events of one call."""

    applied: int
    duplicates: int
    too_late: I64
    """Rows older than the retention: the state has forgotten their time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """Rows that changed since the last drain."""

    latest: RowBatch
    """The newest row of each touched or expired key."""
    log: RowBatch | None
    """One row per change point, by key and time; a row with the same key and valid_from as an earlier one
    replaces it. None when it was not asked for."""


class ViewState:
    """Windows of every key of one partition."""

    def __init__(self, plan: ViewPlan) -> None:
        self.plan = plan
        self.watermark_us = BEGINNING_US
        self.events = 0
        """Events applied since the state began."""
        self.duplicates = 0
        self.too_late = 0
        self._shape = shape_of(plan)
        self._swept_us = BEGINNING_US
        self._memory = StateMemory(plan)

    @property
    def keys_held(self) -> int:
        """Keys that have events."""
        return self._memory.keys_held

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return self._memory.nbytes

    def apply(self, keys: NDArray[np.generic], times_us: I64, ids: I64, inputs: I64) -> Applied:
        """Apply events in any order.

        Args:
            keys: (n,) int64, or texts in an object array.
            times_us: (n,) event times.
            ids: (n,) :func:`feature_store.ids.event_id64` of the event ids.
            inputs: (I, n) exact inputs by the plan's order; NULL where missing. A label given here counts as set.
        """
        memory = self._memory
        memory.reserve(len(times_us), self.watermark_us - self.plan.retention_us)
        times_us, ids = plain(times_us), plain(ids)
        inputs = inputs.astype(np.int64, order="C")  # a copy: labels that waited are put into it
        raise_peaks(inputs, memory.peaks)
        event_slots = memory.slots_of(keys)
        outcome = np.empty(len(times_us), dtype=np.int8)
        floor_us = self.watermark_us - self.plan.lateness_us
        table_kernels.admit(
            event_slots,
            times_us,
            ids,
            inputs,
            memory.slots.counters,
            memory.known,
            memory.pending,
            self.plan.label_input,
            self.watermark_us - self.plan.retention_us,
            floor_us,
            outcome,
        )
        order = self._order(event_slots, times_us, np.flatnonzero(outcome == 0))
        done = 0
        while done < len(order):
            stop = min(len(order), done + cache_kernels.TOGETHER) if memory.is_large else len(order)
            if memory.is_large:
                slots = memory.slots
                cache_kernels.bring_ends(order[done:stop], event_slots, slots.meta, slots.next_change, memory.arena)
            done = ring_kernels.insert(
                done,
                order[:stop],
                event_slots,
                times_us,
                ids,
                inputs,
                memory.slots,
                memory.arena,
                self._shape,
                self.watermark_us,
                floor_us,
            )
            if done < stop:
                memory.grow_arena()
        memory.due.touch(event_slots, memory.slots.next_change)
        applied, duplicates = len(order), int(np.count_nonzero(outcome == 1))
        too_late = np.flatnonzero(outcome == 2).astype(np.int64, copy=False)
        self.events += applied
        self.duplicates += duplicates
        self.too_late += len(too_late)
        return Applied(applied=applied, duplicates=duplicates, too_late=too_late)

    def label(self, ids: I64, values: I64, *, arrived_us: int = BEGINNING_US) -> int:
        """Set labels by event id; the number of events whose label changed.

        A label whose event is unknown waits for it until the watermark is the stream's lateness past its arrival; the
        newest of one id counts. A label that comes later than that after its first effect changes the log from
        ``watermark - lateness`` on.

        Args:
            ids: (n,) event_id64 of their events.
            values: (n,) exact labels; NULL takes one back.
            arrived_us: newest arrival among them, so that a reader who is ahead with labels and behind with events
                loses none.
        """
        if self.plan.label_input < 0:
            return 0
        memory = self._memory
        since_us = max(self.watermark_us, arrived_us)
        memory.reserve_pending(len(ids), self.watermark_us - self.plan.lateness_us)
        memory.changes.note_labels(since_us)
        labelled = np.empty(len(ids), dtype=np.int32)
        changed = ring_kernels.set_labels(
            plain(ids),
            plain(values),
            memory.slots,
            memory.arena,
            memory.known,
            memory.pending,
            self._shape,
            self.plan.label_input,
            self.plan.label_enter_us,
            since_us,
            self.watermark_us,
            self.plan.lateness_us,
            self.plan.retention_us,
            labelled,
        )
        memory.due.touch(labelled[:changed], memory.slots.next_change)
        return int(changed)

    def advance(self, watermark_us: int) -> None:
        """Move event time forward; an earlier instant is ignored."""
        if self.watermark_us == BEGINNING_US < watermark_us:
            # Labels that came before any event time was known start to wait now.
            waiting = self._memory.pending.at
            waiting[waiting == BEGINNING_US] = watermark_us
            self._memory.changes.note_labels(watermark_us)
        self.watermark_us = max(self.watermark_us, watermark_us)

    def touch_all(self) -> None:
        """Let the next drain give the row of every key that is held, changed or not."""
        memory, held = self._memory, self._memory.held()
        memory.slots.next_change[held] = NULL
        memory.due.touch(held.astype(np.int32), memory.slots.next_change)

    def drain(self, *, log: bool) -> Drained:
        """Rows that changed since the last drain, evaluated at each key's last event or the watermark.

        Args:
            log: also give every change point; what a drain without it passes over is not logged later.
        """
        slots, arena, peaks, shape = self._memory.slots, self._memory.arena, self._memory.peaks, self._shape
        due = self._memory.due.find(slots.next_change, self.watermark_us)
        self._memory.changes.touch(due)
        keys = self._memory.keys_of(due)
        logged = self._drain_log(due, keys) if log else None
        sketches = self._memory.sketches
        n = len(due)
        has_state = np.empty(n, dtype=np.bool_)
        oldest_us = self.watermark_us - self.plan.retention_us
        starts = drain_kernels.state_bounds(due, slots, arena, oldest_us, has_state)
        size = int(starts[-1])
        valid_from, valid_until = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        values = np.empty((n, self.plan.width), dtype=np.float64)
        t, ids = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        inputs = np.empty((len(self.plan.inputs), size), dtype=np.int64)
        base = np.empty((n, shape.width - shape.base), dtype=np.int64)
        if sketches:
            sketches.fold(due, oldest_us, slots, arena)
        together = cache_kernels.TOGETHER if self._memory.is_large else max(n, 1)
        for first in range(0, n, together):
            rows = slice(first, first + together)
            if self._memory.is_large:
                cache_kernels.bring_histories(due[rows], slots.meta, slots.next_change, arena)
            drain_kernels.write_latest(
                due[rows],
                shape,
                slots,
                arena,
                peaks,
                self.watermark_us,
                oldest_us,
                valid_from[rows],
                valid_until[rows],
                values[rows],
                starts[first : first + together + 1],
                t,
                ids,
                inputs,
                base[rows],
            )
        self._memory.due.settle(slots.next_change)
        if sketches:
            sketches.fill(due, np.arange(n, dtype=np.int64), valid_from, self._settled_us, slots, arena, values)
        state_sketches = sketches.of_rows(due) if sketches else ()
        self._sweep()
        latest = RowBatch(
            keys=keys,
            valid_from_us=valid_from,
            valid_until_us=valid_until,
            values=values,
            has_state=has_state,
            state_start=starts,
            state_t=t,
            state_id=ids,
            state_inputs=inputs,
            state_base=base,
            state_sketches=state_sketches,
        )
        return Drained(latest=latest, log=logged)

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """The state as plain arrays; :meth:`restore` continues from it as if nothing had happened."""
        return {**pack(self.plan, self._memory), "counters": self._counters()}

    def take_changes(self) -> dict[str, NDArray[np.generic]]:
        """What became of the state since this was called last, it was restored or began, as plain arrays.

        :func:`feature_store.state.state_merge.merge` makes a state of them and of those before.
        """
        return {**pack_changes(self.plan, self._memory), "counters": self._counters()}

    def slots_held(self) -> I64:
        """Slots of the keys of :meth:`snapshot`, in their order: what later changes call the keys."""
        return self._memory.held()

    @classmethod
    def restore(cls, plan: ViewPlan, arrays: dict[str, NDArray[np.generic]]) -> "ViewState":
        """The state of a snapshot.

        Raises:
            IntegrityError: the snapshot has another format or belongs to another definition.
        """
        state = cls(plan)
        state._memory = unpack(plan, arrays)
        own = plain(arrays["counters"]).tolist()
        state.watermark_us, state._swept_us, state.events, state.duplicates, state.too_late = own
        return state

    @property
    def _settled_us(self) -> int:
        """No more events are expected before it."""
        return self.watermark_us - self.plan.lateness_us

    def _order(self, event_slots: NDArray[np.int32], times_us: I64, events: I64) -> I64:
        """Events in the order of insertion: those of a key together, and by time, when there are enough of them."""
        used = self._memory.used
        if len(events) * _SLOTS_PER_EVENT < used:
            return events
        along_us = times_us[events]
        if len(events) and (along_us[1:] < along_us[:-1]).any():
            events = events[np.argsort(along_us, kind="stable")]
        order = np.empty(len(events), dtype=np.int64)
        query_kernels.grouped(events, event_slots, used, order)
        return order

    def _counters(self) -> I64:
        own = [self.watermark_us, self._swept_us, self.events, self.duplicates, self.too_late]
        return np.array(own, dtype=np.int64)

    def _drain_log(self, due: I64, keys: NDArray[np.generic]) -> RowBatch:
        slots, arena, shape = self._memory.slots, self._memory.arena, self._shape
        room = int(drain_kernels.log_bounds(due, shape, slots, arena, self.watermark_us))
        key_row, valid_from, valid_until = (np.empty(room, dtype=np.int64) for _ in range(3))
        values = np.empty((room, self.plan.width), dtype=np.float64)
        n = drain_kernels.write_log(
            due,
            shape,
            slots,
            arena,
            self._memory.peaks,
            self.watermark_us,
            key_row,
            valid_from,
            valid_until,
            values,
            sliding_of(shape, self._memory.peaks, len(arena)),
        )
        if self._memory.sketches:
            self._memory.sketches.fill(due, key_row[:n], valid_from[:n], self._settled_us, slots, arena, values)
        return RowBatch.without_state(self.plan, keys[key_row[:n]], valid_from[:n], valid_until[:n], values[:n])

    def _sweep(self) -> None:
        """Now and then, forget keys that have no events left."""
        if self.watermark_us - self._swept_us >= self.plan.retention_us // _SWEEPS_PER_RETENTION:
            self._swept_us = self.watermark_us
            self._memory.forget_idle(self.watermark_us)
