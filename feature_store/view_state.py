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

from feature_store import drain_kernels, ring_kernels, table_kernels
from feature_store.kernels import shape_of
from feature_store.plan import NEVER_US, ViewPlan
from feature_store.rows import RowBatch
from feature_store.state_arrays import (
    CAP,
    COUNT,
    FREE,
    GONE,
    IDS,
    KEY,
    PENDING,
    SLOT,
    TIME,
    USED,
    empty_arena,
    empty_ids,
    empty_pending,
    empty_slots,
    power_of_two,
)
from feature_store.view_snapshot import Packed, pack, unpack

__all__ = ["BEGINNING_US", "Applied", "Drained", "ViewState"]

BEGINNING_US = -(2**62)
"""Watermark before any event; far from the edge of int64, so durations can be subtracted."""
_SWEEPS_PER_RETENTION = 4
"""How often keys without new events are looked through; bounds dead memory to a quarter of the live."""

I64 = NDArray[np.int64]


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
        self._slots = empty_slots()
        self._arena = empty_arena(plan, 1024)
        self._known = empty_ids(256)
        self._pending = empty_pending(64)
        self._text_slots: dict[str, int] = {}
        self._texts: list[str] = []

    def __len__(self) -> int:
        """Keys held."""
        return int(np.count_nonzero(self._slots.meta[: self._used, COUNT]))

    def apply(self, keys: NDArray[np.generic], times_us: I64, ids: I64, inputs: I64) -> Applied:
        """Apply events in any order.

        Args:
            keys: (n,) int64, or texts in an object array.
            times_us: (n,) event times.
            ids: (n,) :func:`feature_store.ids.event_id64` of the event ids.
            inputs: (I, n) exact inputs by the plan's order; NULL where missing. A label given here counts as set.
        """
        self._reserve(len(times_us))
        times_us, ids = _own(times_us), _own(ids)
        inputs = inputs.astype(np.int64, order="C")  # a copy: labels that waited are put into it
        event_slots = self._find_text_slots(keys) if self.plan.has_text_keys else self._find_slots(keys)
        outcome = np.empty(len(times_us), dtype=np.int8)
        done = 0
        while True:
            done = ring_kernels.insert(
                done,
                event_slots,
                times_us,
                ids,
                inputs,
                self._slots,
                self._arena,
                self._known,
                self._pending,
                self._shape,
                self.plan.label_input,
                self.watermark_us,
                self.plan.lateness_us,
                self.plan.retention_us,
                outcome,
            )
            if done == len(times_us):
                break
            self._grow_arena()
        applied, duplicates = int(np.count_nonzero(outcome == 0)), int(np.count_nonzero(outcome == 1))
        too_late = np.flatnonzero(outcome == 2).astype(np.int64, copy=False)
        self.events += applied
        self.duplicates += duplicates
        self.too_late += len(too_late)
        return Applied(applied=applied, duplicates=duplicates, too_late=too_late)

    def label(self, ids: I64, values: I64) -> int:
        """Set labels by event id; the number of events whose label changed.

        A label whose event is unknown waits for it for the stream's lateness; the newest of one id counts.
        A label that comes later than that after its first effect changes the log from ``watermark - lateness`` on.
        """
        if self.plan.label_input < 0:
            return 0
        self._reserve_pending(len(ids))
        return int(
            ring_kernels.set_labels(
                _own(ids),
                _own(values),
                self._slots,
                self._arena,
                self._known,
                self._pending,
                self._shape,
                self.plan.label_input,
                self.plan.label_enter_us,
                self.watermark_us,
                self.plan.lateness_us,
                self.plan.retention_us,
            )
        )

    def advance(self, watermark_us: int) -> None:
        """Move event time forward; an earlier instant is ignored."""
        if self.watermark_us == BEGINNING_US < watermark_us:
            # Labels that came before any event time was known start to wait now.
            self._pending.at[self._pending.at == BEGINNING_US] = watermark_us
        self.watermark_us = max(self.watermark_us, watermark_us)

    def drain(self, *, log: bool) -> Drained:
        """Rows that changed since the last drain, evaluated at each key's last event or the watermark.

        Args:
            log: also give every change point; what a drain without it passes over is not logged later.
        """
        slots, arena, shape = self._slots, self._arena, self._shape
        due = drain_kernels.due_slots(slots, self.watermark_us)
        keys = self._keys(due)
        logged = self._drain_log(due, keys) if log else None
        n = len(due)
        has_state = np.empty(n, dtype=np.bool_)
        oldest_us = self.watermark_us - self.plan.retention_us
        starts = drain_kernels.state_bounds(due, slots, arena, oldest_us, has_state)
        size = int(starts[-1])
        valid_from, valid_until = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
        values = np.empty((n, len(self.plan.kind)), dtype=np.float64)
        t, ids = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        inputs = np.empty((len(self.plan.inputs), size), dtype=np.int64)
        drain_kernels.write_latest(
            due,
            shape,
            slots,
            arena,
            self.watermark_us,
            oldest_us,
            valid_from,
            valid_until,
            values,
            starts,
            t,
            ids,
            inputs,
        )
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
        )
        return Drained(latest=latest, log=logged)

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """The state as plain arrays; :meth:`restore` continues from it as if nothing had happened."""
        parts = Packed(
            slots=self._slots,
            arena=self._arena,
            known=self._known,
            pending=self._pending,
            texts=self._texts,
            counters=[self.watermark_us, self._swept_us, self.events, self.duplicates, self.too_late],
        )
        return pack(self.plan, parts)

    @classmethod
    def restore(cls, plan: ViewPlan, arrays: dict[str, NDArray[np.generic]]) -> "ViewState":
        """The state of a snapshot.

        Raises:
            IntegrityError: the snapshot has another format or belongs to another definition.
        """
        state, parts = cls(plan), unpack(plan, arrays)
        state._slots, state._arena, state._known, state._pending = parts.slots, parts.arena, parts.known, parts.pending
        state._texts = parts.texts
        state._text_slots = {text: slot for slot, text in enumerate(parts.texts)}
        state.watermark_us, state._swept_us, state.events, state.duplicates, state.too_late = parts.counters
        return state

    @property
    def _used(self) -> int:
        return int(self._slots.counters[USED])

    def _drain_log(self, due: I64, keys: NDArray[np.generic]) -> RowBatch:
        slots, arena, shape = self._slots, self._arena, self._shape
        room = int(drain_kernels.log_bounds(due, shape, slots, arena, self.watermark_us))
        key_row, valid_from, valid_until = (np.empty(room, dtype=np.int64) for _ in range(3))
        values = np.empty((room, len(self.plan.kind)), dtype=np.float64)
        n = drain_kernels.write_log(
            due, shape, slots, arena, self.watermark_us, key_row, valid_from, valid_until, values
        )
        return RowBatch.without_state(self.plan, keys[key_row[:n]], valid_from[:n], valid_until[:n], values[:n])

    def _keys(self, slots: I64) -> NDArray[np.generic]:
        if not self.plan.has_text_keys:
            numbers: NDArray[np.int64] = self._slots.meta[slots, KEY]
            return numbers
        texts = np.empty(len(slots), dtype=object)
        texts[:] = [self._texts[slot] for slot in slots.tolist()]
        return texts

    def _find_slots(self, keys: NDArray[np.generic]) -> NDArray[np.int32]:
        found: NDArray[np.int32] = table_kernels.find_slots(_own(keys), self._slots)
        return found

    def _find_text_slots(self, keys: NDArray[np.generic]) -> NDArray[np.int32]:
        known, texts = self._text_slots, self._texts
        found = np.empty(len(keys), dtype=np.int32)
        for e, key in enumerate(keys.tolist()):
            slot = known.get(key)
            if slot is None:
                slot = known[key] = int(table_kernels.take_slot(0, self._slots))
                texts.extend("" for _ in range(slot + 1 - len(texts)))
                texts[slot] = key
            found[e] = slot
        return found

    def _reserve(self, n: int) -> None:
        """Room for ``n`` new keys and ids."""
        slots = self._slots
        needed = self._used + n
        if needed > len(slots.meta):
            size = power_of_two(needed)
            meta = np.zeros((size, 8), dtype=np.int64)
            meta[: self._used] = slots.meta[: self._used]
            next_change = np.full(size, NEVER_US, dtype=np.int64)
            next_change[: self._used] = slots.next_change[: self._used]
            self._slots = slots = slots._replace(meta=meta, next_change=next_change)
        if 2 * needed > len(slots.table):
            live = slots.meta[: self._used, CAP] != GONE
            self._rebuild_keys(live, power_of_two(2 * needed))
        if 2 * (int(slots.counters[IDS]) + n) > len(self._known):
            oldest_us = self.watermark_us - self.plan.retention_us
            live_ids = int(np.count_nonzero((self._known[:, SLOT] >= 0) & (self._known[:, TIME] >= oldest_us)))
            table = empty_ids(power_of_two(4 * live_ids + 2 * n))
            slots.counters[IDS] = table_kernels.rebuild_ids(self._known, table, oldest_us)
            self._known = table

    def _reserve_pending(self, n: int) -> None:
        counters = self._slots.counters
        if 2 * (int(counters[PENDING]) + n) > len(self._pending.id):
            oldest_us = self.watermark_us - self.plan.lateness_us
            waiting = int(np.count_nonzero((self._pending.at != NEVER_US) & (self._pending.at >= oldest_us)))
            table = empty_pending(power_of_two(4 * waiting + 2 * n))
            counters[PENDING] = table_kernels.rebuild_pending(self._pending, table, oldest_us)
            self._pending = table

    def _rebuild_keys(self, live: NDArray[np.bool_], size: int) -> None:
        table = np.full(size, -1, dtype=np.int32)
        if not self.plan.has_text_keys:
            table_kernels.rebuild_keys(self._slots, live, table)
        self._slots = self._slots._replace(table=table)

    def _grow_arena(self) -> None:
        """Pack the blocks into an arena of at least twice their size."""
        room = int(ring_kernels.room_needed(self._slots))
        largest = int(self._slots.meta[: self._used, CAP].max(initial=0))
        arena = empty_arena(self.plan, 2 * (room + largest) + 1024)
        ring_kernels.compact(self._slots, self._arena, arena)
        self._arena = arena

    def _sweep(self) -> None:
        """Now and then, forget keys that have no events left."""
        if self.watermark_us - self._swept_us < self.plan.retention_us // _SWEEPS_PER_RETENTION:
            return
        self._swept_us = self.watermark_us
        before = self._slots.counters[FREE]
        live = ring_kernels.evict_idle(self._slots, self._arena, self.watermark_us, self.plan.retention_us)
        if self._slots.counters[FREE] == before:
            return
        if self.plan.has_text_keys:
            self._text_slots = {key: slot for key, slot in self._text_slots.items() if live[slot]}
        else:
            self._rebuild_keys(live, len(self._slots.table))


def _own(column: NDArray[np.generic]) -> I64:
    """A plain int64 array. Kernels are compiled per layout; one of bytes from the network would need another."""
    return np.require(column, np.int64, ["C", "W"])
