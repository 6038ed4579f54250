"""Sketches: summaries of bounded size from Apache DataSketches, fed value by value in the order (time, id).

    kind               summary            kept as
    approx_distinct    HyperLogLog        its registers
    approx_quantile    t-digest           its centroids, and up to 63 values that wait to be merged into them
    approx_top_k       frequent items     up to 384 values with their counts

An answer depends on the values and their order alone, never on where a sketch was put down and taken up again: a
restart, a read and a file all say the same. For that a t-digest merges after every 64th value, counted from the first;
of its own accord it would merge when it is written down. See docs/adr/0013.
"""

import copy
import struct
from typing import Any, Protocol

import numpy as np
from datasketches import frequent_items_error_type, frequent_strings_sketch, hll_sketch, tdigest_double, tgt_hll_type
from numpy.typing import NDArray

from feature_store.plan import NULL, FeaturePlan, ViewPlan

__all__ = ["Sketch", "open_sketch"]

_LG_REGISTERS = 12
_CENTROIDS = 200
_MERGED_AT_ONCE = 64
_LG_COUNTERS = 9
"""A change of any of these needs another name for the kind: saved sketches and files would differ."""

_HELD = struct.Struct("<Q")


class Sketch(Protocol):
    """A summary that is open: it can be fed, asked and put down."""

    def add(self, values: NDArray[np.int64]) -> None:
        """Count values in their order; NULL is none."""

    def read(self) -> list[float]:
        """The cells of the feature; NaN is null. The sketch stays as it is."""

    def save(self) -> bytes:
        """What :func:`open_sketch` goes on from; nothing of an empty sketch."""


def open_sketch(plan: ViewPlan, entry: FeaturePlan, saved: bytes) -> Sketch:
    """The sketch of a feature.

    Args:
        plan: the view.
        entry: a feature of ``plan.sketches``.
        saved: of an earlier one; nothing: it begins empty.
    """
    feature, scale = entry.feature, plan.inputs[entry.input_index].scale
    empty = float("nan") if feature.empty is None else feature.empty
    if feature.kind == "approx_distinct":
        return _Distinct(saved)
    if feature.kind == "approx_quantile":
        return _Quantile(saved, float(feature.aggregation.rank), scale, empty)
    return _TopK(saved, feature.width, scale)


class _Distinct:
    def __init__(self, saved: bytes) -> None:
        self._sketch: Any = hll_sketch.deserialize(saved) if saved else hll_sketch(_LG_REGISTERS, tgt_hll_type.HLL_4)

    def add(self, values: NDArray[np.int64]) -> None:
        update = self._sketch.update
        for value in values[values != NULL].tolist():
            update(value)

    def read(self) -> list[float]:
        return [float(round(self._sketch.get_estimate()))]

    def save(self) -> bytes:
        # The compact form would put its hash table down in another order.
        return b"" if self._sketch.is_empty() else bytes(self._sketch.serialize_updatable())


class _Quantile:
    def __init__(self, saved: bytes, rank: float, scale: int, empty: float) -> None:
        self._rank, self._scale, self._empty = rank, scale, empty
        if saved:
            (waiting,) = _HELD.unpack_from(saved)
            split = _HELD.size + 8 * waiting
            self._waiting = np.frombuffer(saved, np.float64, waiting, _HELD.size)
            self._digest: Any = tdigest_double.deserialize(saved[split:])
        else:
            self._waiting = np.empty(0, np.float64)
            self._digest = tdigest_double(_CENTROIDS)

    def add(self, values: NDArray[np.int64]) -> None:
        waiting = np.concatenate([self._waiting, values[values != NULL].astype(np.float64)])
        whole = len(waiting) // _MERGED_AT_ONCE * _MERGED_AT_ONCE
        for first in range(0, whole, _MERGED_AT_ONCE):
            self._digest.update(waiting[first : first + _MERGED_AT_ONCE])
            self._digest.compress()
        self._waiting = waiting[whole:]

    def read(self) -> list[float]:
        if self._digest.is_empty() and not len(self._waiting):
            return [self._empty]
        digest = copy.copy(self._digest)  # asking merges what waits
        digest.update(np.array(self._waiting))
        return [float(digest.get_quantile(self._rank)) / self._scale]

    def save(self) -> bytes:
        if self._digest.is_empty() and not len(self._waiting):
            return b""
        return _HELD.pack(len(self._waiting)) + self._waiting.tobytes() + bytes(self._digest.serialize())


class _TopK:
    def __init__(self, saved: bytes, width: int, scale: int) -> None:
        self._width, self._scale = width, scale
        # Texts: the sketch of Python objects asks Python for every byte it reads or writes.
        self._sketch: Any = (
            frequent_strings_sketch.deserialize(saved) if saved else frequent_strings_sketch(_LG_COUNTERS)
        )

    def add(self, values: NDArray[np.int64]) -> None:
        update = self._sketch.update
        for value in values[values != NULL].tolist():
            update(str(value))

    def read(self) -> list[float]:
        found = self._sketch.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
        ranked = sorted((-count, int(text)) for text, count, *_ in found)[: self._width]
        cells = [value / self._scale for _, value in ranked]
        return cells + [float("nan")] * (self._width - len(cells))

    def save(self) -> bytes:
        return b"" if self._sketch.is_empty() else bytes(self._sketch.serialize())
