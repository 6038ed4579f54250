"""Sketches of a view's live state: of each key one over the events that the state has forgotten.

    events    ●──●────●──●──┊──●─────●──●─►  q        the sketch at q = a copy of the kept one, fed up to q
              kept sketch   ┊  the state still has these
                            └ START of the key's block (feature_store.state.state_arrays)

They lie beside the history, not in it: its rows would each carry kilobytes. Events are folded just before the kernels
forget them, in the order (time, id), when nothing can come between them any more.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64, shape_of
from feature_store.plan import ViewPlan
from feature_store.sketch_layout import BYTES, SIZES, Saved, encode_sketches, pack, unpack
from feature_store.sketches import opener, seen_until
from feature_store.state import change_kernels, drain_kernels
from feature_store.state.sketch_marks import SketchMarks
from feature_store.state.state_arrays import Slots

__all__ = ["LifetimeSketches"]


class LifetimeSketches:
    """The kept sketches of one view, by slot; of a view that has some."""

    def __init__(self, plan: ViewPlan) -> None:
        self._plan = plan
        self._shape = shape_of(plan)
        self._openers = [(entry, opener(plan, entry)) for entry in plan.sketches]
        self._none: Saved = (b"",) * len(self._openers)
        self._kept: dict[int, Saved] = {}
        self._kept_bytes = 0
        self._marks = [SketchMarks() for _ in self._openers]

    @property
    def nbytes(self) -> int:
        """Of the sketches alone."""
        return self._kept_bytes + sum(marks.nbytes for marks in self._marks)

    def fold(self, due: I64, oldest_us: int, slots: Slots, arena: I64) -> None:
        """Add the events of these slots that are about to be forgotten, those of before ``oldest_us``."""
        leaving = np.empty(len(due), dtype=np.int64)
        change_kernels.unchanged_events(due, np.full(len(due), oldest_us), slots, arena, leaving)
        due, leaving = due[leaving > 0], leaving[leaving > 0]
        starts, inputs = self._first_events(due, leaving, slots, arena)
        for slot, (first, end) in zip(due.tolist(), pairwise(starts.tolist()), strict=True):
            part = inputs[:, first:end]
            saved, kept = [], self._kept.get(slot, self._none)
            for (entry, open_sketch), marks, before in zip(self._openers, self._marks, kept, strict=True):
                sketch = open_sketch(before)
                sketch.add(part[entry.input_index])
                saved.append(sketch.save())
                marks.fold(slot, part[entry.input_index])
            self._keep(slot, tuple(saved))

    def fill(
        self,
        due: I64,
        row_of: I64,
        at_us: I64,
        settled_us: int,
        slots: Slots,
        arena: I64,
        values: NDArray[np.float64],
    ) -> None:
        """Write the cells of sketches into rows.

        Args:
            due: slots.
            row_of: (n,) place in ``due`` of each row's slot; rows of one slot stand together.
            at_us: (n,) the instant of each row, rising within a slot.
            settled_us: no more events are expected before it.
            slots, arena: of the state.
            values: (n, W) written.
        """
        until, settled = (
            self._counts(due[row_of], instants, slots, arena) for instants in (at_us, np.minimum(at_us, settled_us))
        )
        most = np.zeros(len(due), dtype=np.int64)
        np.maximum.at(most, row_of, until.max(axis=0))
        starts, inputs = self._first_events(due, most, slots, arena)
        names, begins, owners = due.tolist(), starts.tolist(), row_of.tolist()
        for place, ((entry, open_sketch), marks) in enumerate(zip(self._openers, self._marks, strict=True)):
            cells, column = slice(entry.slot, entry.slot + entry.feature.width), inputs[entry.input_index]
            ends, settled_ends = until[place].tolist(), settled[place].tolist()
            current, done = -1, 0
            for row, owner in enumerate(owners):
                given = column[begins[owner] : begins[owner] + ends[row]]
                if owner != current:
                    kept = self._kept.get(names[owner], self._none)[place]
                    sketch, done = marks.open(names[owner], kept, given, settled_ends[row], open_sketch)
                    current = owner
                if ends[row] > done:
                    sketch.add(given[done:])
                    done = ends[row]
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
        self._kept_bytes += sum(map(len, saved)) - sum(map(len, self._kept.get(slot, self._none)))
        self._kept[slot] = saved

    def _counts(self, owners: I64, at_us: I64, slots: Slots, arena: I64) -> I64:
        """(S, n) retained events of each slot that a sketch counts at its instant."""
        counts = np.empty((len(self._openers), len(owners)), dtype=np.int64)
        for count, (entry, _) in zip(counts, self._openers, strict=True):
            change_kernels.unchanged_events(owners, seen_until(self._plan, entry, at_us) + 1, slots, arena, count)
        return counts

    def _first_events(self, due: I64, number: I64, slots: Slots, arena: I64) -> tuple[I64, I64]:
        """Where the inputs (I, m) of the first ``number`` events of each slot begin, and these."""
        starts = np.concatenate([[0], np.cumsum(number)]).astype(np.int64)
        size = int(starts[-1])
        t, ids = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
        inputs = np.empty((len(self._plan.inputs), size), dtype=np.int64)
        nothing = np.zeros(len(due), dtype=np.int64)
        drain_kernels.write_state(due, nothing, self._shape, slots, arena, starts, t, ids, inputs)
        return starts, inputs
