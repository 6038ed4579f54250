"""Sketches of a view's live state: of each key one over the events that the state has forgotten.

    events    ●──●────●──●──┊──●─────●──●─►  q        the sketch at q = a copy of the kept one, fed up to q
              kept sketch   ┊  the state still has these
                            └ START of the key's block (feature_store.state_arrays)

They lie beside the history, not in it: its rows would each carry kilobytes. Events are folded just before the kernels
forget them, in the order (time, id), when nothing can come between them any more.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store import change_kernels, drain_kernels
from feature_store.kernels import I64, shape_of
from feature_store.plan import FeaturePlan, ViewPlan
from feature_store.sketch_layout import BYTES, SIZES, Saved, encode_sketches, pack, unpack
from feature_store.sketches import opener
from feature_store.state_arrays import Slots

__all__ = ["LifetimeSketches", "seen_until"]

_LONG_AGO_US = -(2**62)


def seen_until(plan: ViewPlan, entry: FeaturePlan, at_us: I64) -> I64:
    """Time of the newest events that a lifetime counts at each instant."""
    edge = plan.edges[entry.enter_at]
    assert edge.grid_us == 0, "a lifetime is on no grid"
    found: I64 = np.maximum(at_us, _LONG_AGO_US) - (edge.shift_us + edge.back_us)
    return found


class LifetimeSketches:
    """The kept sketches of one view, by slot; of a view that has some."""

    def __init__(self, plan: ViewPlan) -> None:
        self._plan = plan
        self._shape = shape_of(plan)
        self._openers = [(entry, opener(plan, entry)) for entry in plan.sketches]
        self._none: Saved = (b"",) * len(self._openers)
        self._kept: dict[int, Saved] = {}
        self.nbytes = 0
        """Of the sketches alone."""

    def fold(self, due: I64, oldest_us: int, slots: Slots, arena: I64) -> None:
        """Add the events of these slots that are about to be forgotten, those of before ``oldest_us``."""
        leaving = np.empty(len(due), dtype=np.int64)
        change_kernels.unchanged_events(due, np.full(len(due), oldest_us), slots, arena, leaving)
        due, leaving = due[leaving > 0], leaving[leaving > 0]
        starts, inputs = self._first_events(due, leaving, slots, arena)
        for row, slot in enumerate(due.tolist()):
            part = inputs[:, starts[row] : starts[row + 1]]
            saved = []
            for (entry, open_sketch), before in zip(self._openers, self._kept.get(slot, self._none), strict=True):
                sketch = open_sketch(before)
                sketch.add(part[entry.input_index])
                saved.append(sketch.save())
            self._keep(slot, tuple(saved))

    def fill(self, due: I64, row_of: I64, at_us: I64, slots: Slots, arena: I64, values: NDArray[np.float64]) -> None:
        """Write the cells of sketches into rows.

        Args:
            due: slots.
            row_of: (n,) place in ``due`` of each row's slot; rows of one slot stand together.
            at_us: (n,) the instant of each row, rising within a slot.
            slots, arena: of the state.
            values: (n, W) written.
        """
        owners = due[row_of]
        counts = np.empty((len(self._openers), len(owners)), dtype=np.int64)
        for count, (entry, _) in zip(counts, self._openers, strict=True):
            before_us = seen_until(self._plan, entry, at_us) + 1
            change_kernels.unchanged_events(owners, before_us, slots, arena, count)
        most = np.zeros(len(due), dtype=np.int64)
        np.maximum.at(most, row_of, counts.max(axis=0))
        starts, inputs = self._first_events(due, most, slots, arena)
        slots_due, begins = due.tolist(), starts.tolist()
        for place, (until, (entry, open_sketch)) in enumerate(zip(counts.tolist(), self._openers, strict=True)):
            cells, column = slice(entry.slot, entry.slot + entry.feature.width), inputs[entry.input_index]
            current, done = -1, 0
            for row, owner in enumerate(row_of.tolist()):
                if owner != current:
                    sketch = open_sketch(self._kept.get(slots_due[owner], self._none)[place])
                    current, done = owner, 0
                if until[row] > done:
                    sketch.add(column[begins[owner] + done : begins[owner] + until[row]])
                    done = until[row]
                values[row, cells] = sketch.read()

    def of_rows(self, due: I64) -> tuple[bytes, ...]:
        """What stands behind the state of each slot's row online."""
        return tuple(encode_sketches(self._kept.get(slot, self._none)) for slot in due.tolist())

    def arrays(self, held: I64) -> dict[str, NDArray[np.generic]]:
        """The sketches of these slots, for a snapshot."""
        return pack([self._kept.get(slot, self._none) for slot in held.tolist()], len(self._none))

    def load(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Begin with those of a snapshot, of the slots from 0 on."""
        sizes, data = arrays[SIZES].astype(np.int64, copy=False), arrays[BYTES].astype(np.uint8, copy=False)
        for slot, saved in enumerate(unpack(sizes, data)):
            if any(saved):
                self._keep(slot, saved)

    def _keep(self, slot: int, saved: Saved) -> None:
        self.nbytes += sum(map(len, saved)) - sum(map(len, self._kept.get(slot, self._none)))
        self._kept[slot] = saved

    def _first_events(self, due: I64, number: I64, slots: Slots, arena: I64) -> tuple[I64, I64]:
        """Where the inputs (I, m) of the first ``number`` events of each slot begin, and these."""
        starts = np.concatenate([[0], np.cumsum(number)]).astype(np.int64)
        size = int(starts[-1])
        t, ids = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        inputs = np.empty((len(self._plan.inputs), size), dtype=np.int64)
        nothing = np.zeros(len(due), dtype=np.int64)
        drain_kernels.write_state(due, nothing, self._shape, slots, arena, starts, t, ids, inputs)
        return starts, inputs
