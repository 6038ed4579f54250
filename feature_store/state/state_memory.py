"""The memory of a view's state: it grows ahead of the kernels, packs itself, and forgets idle keys."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import plain
from feature_store.kernels import I64, shape_of
from feature_store.plan import NEVER_US, ViewPlan
from feature_store.state import change_kernels, ring_kernels, table_kernels
from feature_store.state.due_slots import DueSlots
from feature_store.state.lifetime_sketches import LifetimeSketches
from feature_store.state.state_arrays import (
    CAP,
    COUNT,
    FREE,
    GONE,
    IDS,
    KEY,
    PENDING,
    USED,
    empty_arena,
    empty_ids,
    empty_pending,
    empty_slots,
    power_of_two,
)
from feature_store.state.state_changes import StateChanges

__all__ = ["CACHED_BYTES", "StateMemory"]

CACHED_BYTES = 16_000_000
"""Histories, with the room between them, that a core's caches hold."""

_SPARE_BYTES = 64_000_000
"""A larger arena is not kept when it was left; memory is worth more than its zeros there."""


class StateMemory:
    """Arrays of :mod:`feature_store.state.state_arrays`; kernels read and write them between two calls here."""

    def __init__(self, plan: ViewPlan) -> None:
        self._plan = plan
        self.slots = empty_slots()
        self.arena = empty_arena(plan, 1024)
        self._spare: I64 | None = None
        """Where the arena was before; it is packed into that the next time."""
        self.known = empty_ids(256)
        self.pending = empty_pending(64)
        self.peaks = np.zeros(len(plan.inputs), dtype=np.int64)
        """(I,) largest magnitude of each input there ever was."""
        self.sketches = LifetimeSketches(plan) if plan.sketches else None
        self.changes = StateChanges(len(self.slots.meta))
        self.due = DueSlots(self.slots.next_change)
        self.texts: list[str] = []
        """Key of each slot, when keys are texts."""
        self._text_slots: dict[str, int] = {}

    @property
    def keys_held(self) -> int:
        """Keys that have events."""
        return int(np.count_nonzero(self.slots.meta[: self.used, COUNT]))

    @property
    def used(self) -> int:
        """Slots ever used."""
        return int(self.slots.counters[USED])

    @property
    def is_large(self) -> bool:
        """Whether the histories are too large for the caches to hold."""
        return self.arena.nbytes > CACHED_BYTES

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        arrays = (*self.slots, *self.pending, self.arena, self.known)
        sketches = self.sketches.nbytes if self.sketches else 0
        spare = 0 if self._spare is None else self._spare.nbytes
        return sum(array.nbytes for array in arrays) + self.changes.nbytes + self.due.nbytes + sketches + spare

    def held(self) -> I64:
        """Slots that later answers depend on: those with events, and with what a lifetime added up."""
        return np.flatnonzero(self.holds(slice(self.used))).astype(np.int64, copy=False)

    def holds(self, slots: I64 | slice) -> NDArray[np.bool_]:
        """Which slots are among :meth:`held`."""
        held: NDArray[np.bool_] = self.slots.meta[slots, CAP if self._plan.view.has_lifetime else COUNT] > 0
        return held

    def mark_taken(self, slots: I64) -> None:
        """These slots, and all else that was noted as changed, are in a snapshot now."""
        newest_us = np.empty(len(slots), dtype=np.int64)
        change_kernels.newest_events(slots, self.slots, self.arena, newest_us)
        self.slots.reworked[slots] = NEVER_US
        self.changes.taken(slots, newest_us)

    def slots_of(self, keys: NDArray[np.generic]) -> NDArray[np.int32]:
        """Slot of each key, made for new ones; :meth:`reserve` comes first."""
        if not self._plan.has_text_keys:
            found: NDArray[np.int32] = table_kernels.find_slots(plain(keys), self.slots)
            return found
        found = np.empty(len(keys), dtype=np.int32)
        for e, key in enumerate(keys.tolist()):
            slot = self._text_slots.get(key)
            if slot is None:
                slot = self._text_slots[key] = int(table_kernels.take_slot(0, self.slots))
                self.texts.extend("" for _ in range(slot + 1 - len(self.texts)))
                self.texts[slot] = key
            found[e] = slot
        return found

    def keys_of(self, slots: I64) -> NDArray[np.generic]:
        """Keys of slots."""
        if not self._plan.has_text_keys:
            numbers: NDArray[np.int64] = self.slots.meta[slots, KEY]
            return numbers
        texts = np.empty(len(slots), dtype=object)
        texts[:] = [self.texts[slot] for slot in slots.tolist()]
        return texts

    def reserve(self, n: int, oldest_us: int) -> None:
        """Make room for ``n`` new keys and ids; ids of events before ``oldest_us`` may go."""
        self._reserve_keys(n)
        counters = self.slots.counters
        if 2 * (int(counters[IDS]) + n) > len(self.known):
            kept = counters[IDS] = table_kernels.purge_ids(self.known, oldest_us)
            # An eighth stays free for the ids to come, so that few batches begin with this.
            if 8 * (int(kept) + n) > 3 * len(self.known):
                table = empty_ids(power_of_two(3 * (int(kept) + n)))
                table_kernels.rebuild_ids(self.known, table)
                self.known = table

    def reserve_pending(self, n: int, oldest_us: int) -> None:
        """Make room for ``n`` waiting labels; those that wait since before ``oldest_us`` may go."""
        counters = self.slots.counters
        if 2 * (int(counters[PENDING]) + n) > len(self.pending.id):
            waiting = int(np.count_nonzero((self.pending.at != NEVER_US) & (self.pending.at >= oldest_us)))
            table = empty_pending(power_of_two(4 * waiting + 2 * n))
            counters[PENDING] = table_kernels.rebuild_pending(self.pending, table, oldest_us)
            self.pending = table
            self.changes.drop_labels(oldest_us)

    def grow_arena(self) -> None:
        """Pack the blocks into an arena with room for more, and for any block to grow.

        Where the caches hold it that is a quarter more: with twice as much less of it would be there, and an event take
        a twentieth longer. A large one is packed seldom instead. Two that take turns need no fresh memory, which the
        kernel fills with zeros first.
        """
        room = int(ring_kernels.room_needed(self.slots))
        largest = int(self.slots.meta[: self.used, CAP].max(initial=0))
        more = room // 4 if room * self.arena.strides[0] <= CACHED_BYTES else room
        size = room + more + 2 * largest + 1024
        arena = self._spare
        if arena is None or not size <= len(arena) <= 2 * size:
            arena = empty_arena(self._plan, size + size // 8)
        ring_kernels.compact(self.slots, self.arena, arena)
        self.arena, self._spare = arena, self.arena if self.arena.nbytes <= _SPARE_BYTES else None

    def forget_idle(self, watermark_us: int) -> None:
        """Drop old events of keys that nothing has touched, and keys left without any."""
        if self.sketches:
            # Those that are due are folded when they are drained.
            idle = (self.slots.meta[: self.used, CAP] > 0) & (self.slots.next_change[: self.used] > watermark_us)
            self.sketches.fold(np.flatnonzero(idle), watermark_us - self._plan.retention_us, self.slots, self.arena)
        before = self.slots.counters[FREE]
        blocks = self.slots.meta[: self.used, [CAP, COUNT]]
        live = ring_kernels.evict_idle(
            self.slots, self.arena, watermark_us, self._plan.retention_us, self._plan.view.has_lifetime
        )
        self.changes.touch(np.flatnonzero((self.slots.meta[: self.used, [CAP, COUNT]] != blocks).any(axis=1)))
        if self.slots.counters[FREE] == before:
            return
        if self._plan.has_text_keys:
            self._text_slots = {key: slot for key, slot in self._text_slots.items() if live[slot]}
        else:
            self._rebuild_keys(live, len(self.slots.table))

    def load(self, keys: NDArray[np.generic], counts: I64, t: I64, ids: I64, inputs: I64, base: I64) -> None:
        """Fill an empty memory: slot i is of ``keys[i]``, begins with cells ``base[i]``, has ``counts[i]`` events."""
        self._reserve_keys(len(keys))
        self.slots_of(keys)
        self.slots.meta[: len(keys), COUNT] = counts
        self.slots.meta[: len(keys), CAP] = 1
        self.arena = empty_arena(self._plan, 2 * int(ring_kernels.room_needed(self.slots)) + 1024)
        self.known = empty_ids(power_of_two(2 * len(t)))  # filling it is half the time of a restart
        shape = shape_of(self._plan)
        ring_kernels.load(counts, t, ids, inputs, base, shape, self.slots, self.arena)
        self.slots.counters[IDS] = table_kernels.note_ids(counts, t, ids, self.known)

    def _reserve_keys(self, n: int) -> None:
        slots = self.slots
        needed = self.used + n
        if needed > len(slots.meta):
            size = power_of_two(needed)
            meta = np.zeros((size, 8), dtype=np.int64)
            meta[: self.used] = slots.meta[: self.used]
            next_change = np.full(size, NEVER_US, dtype=np.int64)
            next_change[: self.used] = slots.next_change[: self.used]
            reworked = np.full(size, NEVER_US, dtype=np.int64)
            reworked[: self.used] = slots.reworked[: self.used]
            self.slots = slots = slots._replace(meta=meta, next_change=next_change, reworked=reworked)
            self.changes.grow(size)
            self.due.rebuild(next_change)
        if 2 * needed > len(slots.table):
            self._rebuild_keys(slots.meta[: self.used, CAP] != GONE, power_of_two(2 * needed))

    def _rebuild_keys(self, live: NDArray[np.bool_], size: int) -> None:
        table = np.full(size, -1, dtype=np.int32)
        if not self._plan.has_text_keys:
            table_kernels.rebuild_keys(self.slots, live, table)
        self.slots = self.slots._replace(table=table)
