"""Marks: how far the sketches of busy keys have come in the events that the state still has.

    ●──●────●──●──┊──●─────●──●──●──●──●──┊──●──●─►  q
    kept sketch   ┊  START     retained   ┊ mark: what is before it need not be fed again

A long window beside a sketch keeps thousands of events of a key, and feeding all of them for every row would make the
row cost milliseconds. A mark stands where the lateness says that no more is expected before it, and knows the values it
has seen: when they are others after all (a label, a late event, another stream's), it is as if it were not there.
"""

from collections.abc import Callable

import numpy as np

from feature_store.kernels import I64
from feature_store.sketches import Sketch

__all__ = ["MANY", "SketchMarks"]

MANY = 256
"""Values from which on a second sketch of a key is worth its bytes."""


class SketchMarks:
    """The marks of one feature, by slot. They are not saved: a restart feeds once more."""

    def __init__(self) -> None:
        self._marks: dict[int, tuple[I64, bytes]] = {}

    @property
    def nbytes(self) -> int:
        """Of values and sketches."""
        return sum(seen.nbytes + len(saved) for seen, saved in self._marks.values())

    def open(
        self, slot: int, kept: bytes, values: I64, settled: int, open_sketch: Callable[[bytes], Sketch]
    ) -> tuple[Sketch, int]:
        """A sketch that has been fed some of these values, and how many.

        Args:
            slot: of the key.
            kept: its kept sketch.
            values: retained ones that the first answer counts.
            settled: how many of them are expected to stay as they are.
            open_sketch: of the feature.
        """
        sketch, done = open_sketch(kept), 0
        mark = self._marks.get(slot)
        if mark is not None and np.array_equal(mark[0], values[: len(mark[0])]):
            sketch, done = open_sketch(mark[1]), len(mark[0])
        if settled - done >= MANY:
            sketch.add(values[done:settled])
            self._marks[slot] = values[:settled].copy(), sketch.save()
            done = settled
        return sketch, done

    def fold(self, slot: int, leaving: I64) -> None:
        """These values, the first ones retained, go over into the kept sketch."""
        mark = self._marks.pop(slot, None)
        if mark is not None and len(mark[0]) > len(leaving) and np.array_equal(mark[0][: len(leaving)], leaving):
            self._marks[slot] = mark[0][len(leaving) :], mark[1]
