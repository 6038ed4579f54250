"""Sketches: summaries of bounded size from Apache DataSketches, fed value by value in the order (time, id).

    kind               summary            kept as
    approx_distinct    HyperLogLog        its registers
    approx_quantile    t-digest           its centroids          and up to 63 values that wait for their block
    approx_top_k       frequent items     up to 384 counters     the same

What is kept, and every answer, follow from the values and their order, never from where a sketch was put down and taken
up again: a restart, a read and a file all have the same bits. A t-digest merges when it is written down, and counters
change their places in its table; so both take values in blocks of 64, counted from the first one ever, and are written
down after a block alone. See docs/adr/0013.
"""

import struct
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from datasketches import frequent_items_error_type, frequent_strings_sketch, hll_sketch, tdigest_double, tgt_hll_type
from numpy.typing import NDArray

from feature_store.plan import NULL, FeaturePlan, ViewPlan

__all__ = ["Sketch", "opener"]

_LG_REGISTERS = 12
_CENTROIDS = 200
_LG_COUNTERS = 9
_BLOCK = 64
"""Whoever changes one of these gives the kind another name: sketches that were kept would answer otherwise."""

_WAITING = struct.Struct("<Q")


class Sketch(Protocol):
    """A summary that is open: it can be fed, asked and put down."""

    def add(self, values: NDArray[np.int64]) -> None:
        """Count values in their order; NULL is none."""

    def read(self) -> list[float]:
        """The cells of the feature; NaN is null. The sketch stays as it is."""

    def save(self) -> bytes:
        """What :func:`opener` goes on from; nothing of an empty sketch."""


def opener(plan: ViewPlan, entry: FeaturePlan) -> Callable[[bytes], Sketch]:
    """Opens sketches of a feature of ``plan.sketches`` from what they saved; from nothing, an empty one."""
    feature, scale = entry.feature, plan.inputs[entry.input_index].scale
    if feature.kind == "approx_distinct":
        return _Distinct
    if feature.kind == "approx_quantile":
        empty = float("nan") if feature.empty is None else feature.empty
        return partial(_Quantile, float(feature.aggregation.rank), scale, empty)
    return partial(_TopK, feature.width, scale)


class _Distinct:
    def __init__(self, saved: bytes) -> None:
        self._sketch: Any = hll_sketch.deserialize(saved) if saved else hll_sketch(_LG_REGISTERS, tgt_hll_type.HLL_4)

    def add(self, values: NDArray[np.int64]) -> None:
        update = self._sketch.update
        for value in values.tolist():
            if value != NULL:  # mostly one or two values, of which a mask would cost more
                update(value)

    def read(self) -> list[float]:
        return [float(round(self._sketch.get_estimate()))]

    def save(self) -> bytes:
        # The compact form would put its hash table down in another order.
        return b"" if self._sketch.is_empty() else bytes(self._sketch.serialize_updatable())


class _InBlocks(ABC):
    """What waits, beside a sketch of the whole blocks before it, as bytes; opened only for a block or an answer."""

    def __init__(self, saved: bytes) -> None:
        waiting = _WAITING.unpack_from(saved)[0] if saved else 0
        self._waiting = np.frombuffer(saved, np.int64, waiting, _WAITING.size if saved else 0)
        self._blocks = saved[_WAITING.size + 8 * waiting :]

    def add(self, values: NDArray[np.int64]) -> None:
        waiting = np.concatenate([self._waiting, values[values != NULL]])
        whole = len(waiting) - len(waiting) % _BLOCK
        for first in range(0, whole, _BLOCK):
            self._blocks = self._with(waiting[first : first + _BLOCK]).serialize()
        self._waiting = waiting[whole:]

    def read(self) -> list[float]:
        return self._answer(self._with(self._waiting))

    def save(self) -> bytes:
        if not (len(self._waiting) or self._blocks):
            return b""
        return _WAITING.pack(len(self._waiting)) + self._waiting.tobytes() + self._blocks

    @abstractmethod
    def _with(self, values: NDArray[np.int64]) -> Any:
        """The sketch of the blocks, and of these values after them."""

    @abstractmethod
    def _answer(self, sketch: Any) -> list[float]: ...


class _Quantile(_InBlocks):
    def __init__(self, rank: float, scale: int, empty: float, saved: bytes) -> None:
        super().__init__(saved)
        self._rank, self._scale, self._empty = rank, scale, empty

    def _with(self, values: NDArray[np.int64]) -> Any:
        digest = tdigest_double.deserialize(self._blocks) if self._blocks else tdigest_double(_CENTROIDS)
        digest.update(values.astype(np.float64))
        return digest

    def _answer(self, sketch: Any) -> list[float]:
        return [self._empty if sketch.is_empty() else sketch.get_quantile(self._rank) / self._scale]


class _TopK(_InBlocks):
    def __init__(self, width: int, scale: int, saved: bytes) -> None:
        super().__init__(saved)
        self._width, self._scale = width, scale

    def _with(self, values: NDArray[np.int64]) -> Any:
        # Of texts: the sketch of Python objects asks Python for every byte it reads or writes.
        known = self._blocks
        counters = frequent_strings_sketch.deserialize(known) if known else frequent_strings_sketch(_LG_COUNTERS)
        update = counters.update
        for value in values.tolist():
            update(str(value))
        return counters

    def _answer(self, sketch: Any) -> list[float]:
        # The most frequent come first, equals in the order of the table.
        found = sketch.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
        last = min(self._width, len(found)) - 1
        end = bisect_right(found, -found[last][1], key=lambda row: -row[1]) if found else 0
        ranked = sorted((-estimate, int(text)) for text, estimate, *_ in found[:end])
        cells = [value / self._scale for _, value in ranked[: self._width]]
        return cells + [float("nan")] * (self._width - len(cells))
