"""Kernels that answer many (key, instant) questions over the events of a table, key by key.

    history    │ key 0: its events, one row more │ key 1: … │
    asked      │ of key 0, by time │ of key 1 … │ of no key  │

The edges of a key only move on from one question to the next, and its history is in the cache: taking the questions of
all keys by time instead costs three times as much, nearly all of it waiting for memory. For the same reason columns are
read, and results written, a block at a time: loops that do nothing else wait for many rows at once.
What had not arrived at an instant is :mod:`feature_store.arrival_kernels`' to find.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.arrival_kernels import (
    adds_up,
    hides_any,
    keep_visible,
    latest_arrival,
    stays_narrow,
    take_back,
)
from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import (
    I64,
    Shape,
    T,
    begin,
    edge_at,
    edge_passes,
    put,
    upper_bound,
)
from feature_store.plan import NULL
from feature_store.window_kernels import fill_column, fill_values, scratch_size

__all__ = ["answer", "arrange"]

_BLOCK = 256
"""Rows read, and written, at once."""


@allocating_kernel
def arrange(
    by_time: I64,
    codes: NDArray[np.int32],
    starts: I64,
    times: I64,
    ids: I64,
    inputs: I64,
    shape: Shape,
    history: I64,
    rows: I64,
    arrival: I64,
    input_arrival: I64,
    latest: I64,
) -> None:
    """The history of all keys in one array.

    Events are taken as they come and each is written to the end of its key's history: those ends stay in the cache,
    and events need not be waited for, as they had to be when they were taken key by key.
    What is as long as the events is made by the caller, see :mod:`feature_store.query_kernels`.

    Args:
        by_time: (n,) the events by (time, id), or empty: they are in that order.
        codes: (n,) key of each event.
        starts: (groups + 1,) where the history of each key begins: a row for each event and one more.
        times, ids, inputs: of the events.
        shape: of the view.
        history: (n + groups, width of the shape) written.
        rows: (n + groups,) or empty: the event of each row of the history; written.
        arrival, input_arrival: as of :func:`answer`.
        latest: as ``rows``: when everything of the key up to each row had arrived; written.
    """
    seen, features, folds, groups = shape.seen, shape.features, shape.folds, starts.size - 1
    following = starts[:groups].copy()
    for group in range(groups):
        begin(history, starts[group], features, folds)
    for k in range(codes.size):
        event = by_time[k] if by_time.size > 0 else k
        row = following[codes[event]]
        put(history, row, times[event], ids[event], inputs, event, seen, features, folds)
        if rows.size > 0:
            rows[row] = event
            all_us = latest_arrival(row, event, seen, history, arrival, input_arrival)
            latest[row] = max(latest[row - 1], all_us) if row > starts[codes[event]] else all_us
        following[codes[event]] = row + 1


@allocating_kernel
def answer(
    shape: Shape,
    history: I64,
    starts: I64,
    rows: I64,
    order: I64,
    asked: I64,
    at_us: I64,
    own_ids: I64,
    arrival: I64,
    input_arrival: I64,
    earlier: I64,
    peaks: I64,
    latest: I64,
    values: NDArray[np.float64],
    since: I64,
    sliding: I64 | None,
) -> None:
    """Values at each asked instant.

    Args:
        shape: of the view.
        history, starts, rows, latest: of :func:`arrange`.
        order: (q,) the questions key by key, each key's by time.
        asked: (groups + 1,) where those of each key end; the last are of keys without events.
        at_us: (q,) instants; empty: every event is asked about at its own time, in the order of the history.
        own_ids: (q,) or empty: the event of the row, visible whenever it arrived.
        arrival: (n,) or empty: events are visible from their arrival on.
        input_arrival: (I, n) or (0, 0): values of an input are visible from their arrival on.
        earlier: (3, m) labels that are visible before, see :mod:`feature_store.earlier_labels`.
        peaks: (I,) largest magnitude of each input.
        values: (q, W) written.
        since: (q,) or empty: instant from which the values hold, NULL when nothing had happened; written.
        sliding: of :func:`feature_store.window_kernels.sliding_of`.
    """
    features, empty, edges, seen = shape.features, shape.empty, shape.edges, shape.seen
    groups, depth = len(starts) - 1, len(edges)
    hides = arrival.size > 0 or input_arrival.size > 0
    # Of each row of a block; as far as they have come in a key; of a history made anew.
    at, reached = np.empty((_BLOCK + 1, depth), dtype=np.int64), np.empty(depth, dtype=np.int64)
    limits = np.empty((_BLOCK + 1, 4), dtype=np.int64)
    anew = np.zeros((1, depth), dtype=np.int64)
    longest = 0
    for group in range(groups):
        longest = max(longest, starts[group + 1] - 1 - starts[group])
    scratch = np.empty((1, scratch_size(longest, shape.needs_scratch)), dtype=np.int64)
    dates = since.size > 0
    rebuilds = hides and (dates or not (adds_up(features) and stays_narrow(peaks, longest)))
    visible = np.empty((longest + 1 if rebuilds else 0, shape.width), dtype=np.int64)
    masked = np.empty((seen.size, 1), dtype=np.int64)
    instants, block = np.empty(_BLOCK, dtype=np.int64), np.empty((_BLOCK, values.shape[1]), dtype=np.float64)
    k = 0
    for group in range(groups):
        if k == asked[group]:
            continue
        first, end = starts[group], starts[group + 1] - 1
        for d in range(depth):
            reached[d] = first
        begun = k
        while k < asked[group]:
            place = k % _BLOCK
            if place == 0:
                _next_block(order, k, at_us, instants, block, values)
            count = min(_BLOCK - place, asked[group] - k)
            if at_us.size == 0:
                for b in range(count):
                    instants[place + b] = history[first + (k - begun) + b, T]
            for d in range(0, depth, 4):
                _walk(edges, d, instants, place, place + count, history, end, reached, limits, at)
            for f in range(features.shape[0]):
                fill_column(
                    features, empty, f, at, place, count, history, first, instants, peaks, scratch, block, sliding
                )
            for b in range(place, place + count):
                if dates:
                    since[order[k + b - place]] = _newest_change(edges, at, b, history, first)
                now = instants[b]
                if not hides or at[b, 0] == first or latest[at[b, 0] - 1] <= now:
                    continue
                own, has_own = (own_ids[order[k + b - place]], True) if own_ids.size else (0, False)
                if not hides_any(
                    first, at[b, 0], now, own, has_own, seen, rows, history, arrival, input_arrival, latest
                ):
                    continue
                if not rebuilds:
                    take_back(
                        features, empty, at, b, now, own, has_own, rows, history,
                        arrival, input_arrival, earlier, latest, block, b,
                    )  # fmt: skip
                else:
                    last = keep_visible(
                        shape, at, b, first, now, own, has_own, rows, history, arrival, input_arrival, earlier,
                        dates, visible, masked,
                    )  # fmt: skip
                    for d in range(depth):
                        anew[0, d] = upper_bound(visible, 0, last, edge_at(edges, d, now))
                    fill_values(features, empty, anew, 0, visible, 0, now, peaks, scratch, block, b)
                    if dates:
                        since[order[k + b - place]] = _newest_change(edges, anew, 0, visible, 0)
            k += count
    nothing = np.empty((1, shape.width), dtype=np.int64)
    begin(nothing, 0, features, shape.folds)
    anew[:] = 0
    while k < order.size:
        place = k % _BLOCK
        if place == 0:
            _next_block(order, k, at_us, instants, block, values)
        fill_values(features, empty, anew, 0, nothing, 0, instants[place], peaks, scratch, block, place)
        if dates:
            since[order[k]] = NULL
        k += 1
    _write_block(order, (k - 1) // _BLOCK * _BLOCK, k, block, values)


@kernel
def _walk(
    edges: I64, d: int, instants: I64, place: int, stop: int, history: I64, end: int, reached: I64, limits: I64, at: I64
) -> None:
    """Where edges ``d … d + 3`` stand at each instant of a key, ``place … stop - 1``, from where they have reached.

    Which comes next, an event or an instant, is computed and not branched on: the processor would guess wrongly half
    of the time. One edge alone gains nothing, for each step waits for the one before; four wait together.
    Where there are fewer, the last is walked again.
    """
    last = len(edges) - 1
    d1, d2, d3 = min(d + 1, last), min(d + 2, last), min(d + 3, last)
    for b in range(place, stop):
        now = instants[b]
        limits[b, 0], limits[b, 1] = edge_at(edges, d, now), edge_at(edges, d1, now)
        limits[b, 2], limits[b, 3] = edge_at(edges, d2, now), edge_at(edges, d3, now)
    p0, p1, p2, p3 = reached[d], reached[d1], reached[d2], reached[d3]
    b0, b1, b2, b3 = place, place, place, place
    while b0 + b1 + b2 + b3 < 4 * stop:
        at[b0, d], at[b1, d1], at[b2, d2], at[b3, d3] = p0, p1, p2, p3
        p0, b0 = _step(history, limits[b0, 0], p0, end, b0, stop)
        p1, b1 = _step(history, limits[b1, 1], p1, end, b1, stop)
        p2, b2 = _step(history, limits[b2, 2], p2, end, b2, stop)
        p3, b3 = _step(history, limits[b3, 3], p3, end, b3, stop)
    reached[d], reached[d1], reached[d2], reached[d3] = p0, p1, p2, p3


@kernel
def _step(history: I64, limit: int, position: int, end: int, b: int, stop: int) -> tuple[int, int]:
    """Pass the next event, or go on to the next instant; neither behind the last."""
    goes = int(b < stop)
    passes = int(history[position, T] <= limit) & int(position < end) & goes
    return position + passes, b + goes - passes


@kernel
def _next_block(
    order: I64, k: int, at_us: I64, instants: I64, block: NDArray[np.float64], values: NDArray[np.float64]
) -> None:
    """Write the rows of the block that ends at ``k``, and read the instants of the next."""
    _write_block(order, k - _BLOCK, k, block, values)
    for b in range(min(_BLOCK, order.size - k) if at_us.size > 0 else 0):
        instants[b] = at_us[order[k + b]]


@kernel
def _write_block(order: I64, first: int, end: int, block: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Rows of a block to where their questions stand; none before the first."""
    for k in range(max(first, 0), end):
        for cell in range(values.shape[1]):
            values[order[k], cell] = block[k - first, cell]


@kernel
def _newest_change(edges: I64, at: I64, place: int, history: I64, first: int) -> int:
    """The last instant at which an event passed an edge; NULL when none has."""
    newest = NULL
    for d in range(len(edges)):
        if at[place, d] > first:
            newest = max(newest, edge_passes(edges, d, history[at[place, d] - 1, T]))
    return newest
