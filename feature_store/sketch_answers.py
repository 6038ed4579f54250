"""Sketches over a lifetime where the events are at hand: in files and training sets, and in a row that is read.

A key's questions are taken in the order of time. What everybody from now on sees is fed to one sketch; a copy of it is
fed what only some see, an event that arrived late or the row's own:

    events   ●──●──●──○──●──●          ○ not arrived at q
             fed once │  └──┴ fed to a copy, for the question at q
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from feature_store.arrival_kernels import earlier_labels
from feature_store.kernels import I64
from feature_store.plan import NULL, FeaturePlan, ViewPlan
from feature_store.sketch_layout import Saved
from feature_store.sketches import opener, seen_until

__all__ = ["answer_rows", "answer_sketches", "saved_after"]


def answer_sketches(
    plan: ViewPlan,
    codes: NDArray[np.int32],
    times_us: I64,
    ids: I64,
    inputs: I64,
    asked: NDArray[np.int32],
    at_us: I64,
    own_ids: I64,
    arrival: I64,
    input_arrival: I64,
    earlier: I64,
    values: NDArray[np.float64],
) -> None:
    """Write the cells of sketches for many (key, instant) questions; arguments as of answer_kernels.

    Args:
        plan: of the view.
        codes, times_us, ids, inputs: of the events, any order.
        asked, at_us: of the questions, any order.
        own_ids: (q,) or empty.
        arrival: (n,) or empty.
        input_arrival: (I, n) or (0, 0).
        earlier: (3, m).
        values: (q, W) written.
    """
    events = np.lexsort((ids, times_us, codes))
    questions = np.lexsort((at_us, asked))
    for entry in plan.sketches:
        cells = slice(entry.slot, entry.slot + entry.feature.width)
        seen_us = seen_until(plan, entry, at_us)
        known = np.full(len(codes), NULL) if not input_arrival.size else input_arrival[entry.input_index]
        arrived = arrival if arrival.size else np.full(len(codes), NULL)
        for mine, rows in _by_key(codes, events, asked, questions):
            there = mine[inputs[entry.input_index, mine] != NULL]
            counts = np.searchsorted(times_us[there], seen_us[rows], side="right")
            own = own_ids[rows] if own_ids.size else None
            values[rows, cells] = _answer_key(
                plan, entry, inputs[entry.input_index, there], ids[there], counts, at_us[rows], own, arrived[there],
                known[there], there, earlier,
            )  # fmt: skip


def _answer_key(
    plan: ViewPlan,
    entry: FeaturePlan,
    given: I64,
    ids: I64,
    counts: I64,
    at_us: I64,
    own: I64 | None,
    arrived: I64,
    known: I64,
    events: I64,
    earlier: I64,
) -> NDArray[np.float64]:
    """Cells of one key's questions, which are in order; ``arrived`` and ``known`` are instants of its ``events``."""
    found = np.empty((len(at_us), entry.feature.width))
    latest = np.maximum.accumulate(np.maximum(arrived, known))
    open_sketch = opener(plan, entry)
    sketch, done = open_sketch(b""), 0
    for row, (count, now) in enumerate(zip(counts.tolist(), at_us.tolist(), strict=True)):
        common = min(count, int(np.searchsorted(latest, now, side="right")))
        if common > done:
            sketch.add(given[done:common])
            done = common
        answering = sketch
        if count > done:
            rest = slice(done, count)
            seen = arrived[rest] <= now
            if own is not None:
                seen |= ids[rest] == own[row]
            now_known = np.where(known[rest] <= now, given[rest], earlier_labels(events[rest], now, earlier))[seen]
            if (now_known != NULL).any():
                answering = open_sketch(sketch.save())
                answering.add(now_known)
        found[row] = answering.read()
    return found


def answer_rows(
    plan: ViewPlan,
    saved: list[Saved],
    start: I64,
    t: I64,
    ids: I64,
    inputs: I64,
    at_us: I64,
    merged: NDArray[np.bool_],
    own_t: I64,
    own_id: I64,
    own_inputs: I64,
    values: NDArray[np.float64],
) -> None:
    """Write the cells of sketches for rows with their events; arguments as of state_kernels.evaluate_states.

    Args:
        plan: of the view.
        saved: of each row, over what came before its events.
        start, t, ids, inputs: events of the rows.
        at_us: of each row.
        merged: whether the own event is not among the events, and is put in its place.
        own_t, own_id, own_inputs: of each row.
        values: (n, W) written.
    """
    for place, entry in enumerate(plan.sketches):
        cells, open_sketch = slice(entry.slot, entry.slot + entry.feature.width), opener(plan, entry)
        until = seen_until(plan, entry, at_us).tolist()
        for row, (first, last) in enumerate(pairwise(start.tolist())):
            end = first + int(np.searchsorted(t[first:last], until[row], side="right"))
            given = inputs[entry.input_index, first:end]
            if merged[row] and own_t[row] <= until[row]:
                own = (int(own_t[row]), int(own_id[row]))
                before = sum(event < own for event in zip(t[first:end].tolist(), ids[first:end].tolist(), strict=True))
                given = np.insert(given, before, own_inputs[entry.input_index, row])
            sketch = open_sketch(saved[row][place])
            sketch.add(given)
            values[row, cells] = sketch.read()


def saved_after(plan: ViewPlan, inputs: I64) -> Saved:
    """The sketches after all these events (I, n), which are one key's by (time, id)."""
    saved = []
    for entry in plan.sketches:
        sketch = opener(plan, entry)(b"")
        sketch.add(inputs[entry.input_index])
        saved.append(sketch.save())
    return tuple(saved)


def _by_key(
    codes: NDArray[np.int32], events: I64, asked: NDArray[np.int32], questions: I64
) -> Iterator[tuple[I64, I64]]:
    """Events and questions of each key that is asked about; -1 has no events."""
    names, firsts = np.unique(asked[questions], return_index=True)
    sorted_codes = codes[events]
    lows, highs = (np.searchsorted(sorted_codes, names, side=side) for side in ("left", "right"))
    ends = np.append(firsts, len(questions))[1:]
    for low, high, first, last in zip(lows, highs, firsts, ends, strict=True):
        yield events[low:high], questions[first:last]
