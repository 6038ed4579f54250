"""Kernels for what had not arrived at an instant, though its time had come: found, and taken out of the values.

    event time   ●──────────●─────────●────► q
    arrival          ●                 ┆  ●      not arrived at q: no feature may see it, but its own row does

Sums lose what is hidden; where there is no taking back, the history is made anew of what had arrived.
In place of a label that had not arrived stands the one it corrected, if that had.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.fold_kernels import COUNT, SHARE, SUM
from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import (
    ENTER,
    FOLD,
    I64,
    ID,
    KIND,
    LEAVE,
    PAUSE,
    SCALE,
    SEEN,
    SLOT,
    SUMS,
    TOTAL,
    Shape,
    T,
    begin,
    present,
    put,
)
from feature_store.plan import NULL
from feature_store.window_kernels import SAFE

__all__ = [
    "adds_up",
    "earlier_label",
    "earlier_labels",
    "hides_any",
    "keep_visible",
    "latest_arrival",
    "stays_narrow",
    "take_back",
]


@kernel
def adds_up(features: I64) -> bool:
    """Whether every feature is a difference of sums, so that events can be taken back one by one."""
    for f in range(features.shape[0]):
        if features[f, KIND] > SHARE or features[f, FOLD] >= 0 or features[f, PAUSE] >= 0:
            return False
    return True


@kernel
def stays_narrow(peaks: I64, events: int) -> bool:
    """Whether no sum of so many values leaves 64 bits."""
    largest = 0
    for i in range(peaks.size):
        largest = max(largest, peaks[i])
    return float(largest) * float(events) < SAFE


@kernel
def latest_arrival(row: int, event: int, seen: I64, history: I64, arrival: I64, input_arrival: I64) -> int:
    """When all of an event had arrived: itself, and the values of inputs that came after it."""
    newest = arrival[event] if arrival.size > 0 else NULL
    for i in range(input_arrival.shape[0]):
        if present(history, row, seen[i]):
            newest = max(newest, input_arrival[i, event])
    return int(newest)


@kernel
def _is_absent(k: int, now: int, own: int, has_own: bool, event: int, history: I64, arrival: I64) -> bool:
    """Whether an event had not arrived."""
    return bool(arrival.size > 0 and arrival[event] > now and not (has_own and history[k, ID] == own))


@kernel
def _is_unknown(i: int, event: int, now: int, input_arrival: I64) -> bool:
    """Whether the value of an input had not arrived, though its event had."""
    return bool(input_arrival.size > 0 and input_arrival[i, event] > now)


@kernel
def earlier_label(event: int, now: int, earlier: I64) -> int:
    """The newest label of an event that had arrived, of those that were corrected later; NULL without."""
    low, high = 0, earlier.shape[1]
    while low < high:
        middle = (low + high) // 2
        if earlier[0, middle] < event or (earlier[0, middle] == event and earlier[1, middle] <= now):
            low = middle + 1
        else:
            high = middle
    return int(earlier[2, low - 1]) if low > 0 and earlier[0, low - 1] == event else NULL


@allocating_kernel
def earlier_labels(events: I64, now: int, earlier: I64) -> I64:
    """As :func:`earlier_label`, of several."""
    found = np.empty(events.size, dtype=np.int64)
    for k in range(events.size):
        found[k] = earlier_label(events[k], now, earlier)
    return found


@kernel
def take_back(
    features: I64,
    empty: NDArray[np.float64],
    at: I64,
    group: int,
    now: int,
    own: int,
    has_own: bool,
    rows: I64,
    history: I64,
    arrival: I64,
    input_arrival: I64,
    earlier: I64,
    latest: I64,
    values: NDArray[np.float64],
    row: int,
) -> None:
    """Take back from sums what had not arrived at ``now``, though its time had come."""
    for f in range(features.shape[0]):
        low, high = at[group, features[f, LEAVE]], at[group, features[f, ENTER]]
        if high == low or latest[high - 1] <= now:
            continue
        kind, total, seen = features[f, KIND], features[f, TOTAL], features[f, SEEN]
        there, amount = high - low, 0
        if total >= 0:
            amount = history[high, total] - history[low, total]
            if seen >= 0:
                there = history[high, seen] - history[low, seen]
        k = high - 1
        while k >= low and latest[k] > now:
            event = rows[k]
            hidden = _is_absent(k, now, own, has_own, event, history, arrival)
            if total < 0:
                there -= int(hidden)
            elif (hidden or _is_unknown(total - SUMS, event, now, input_arrival)) and present(history, k, seen):
                there -= 1
                amount -= history[k + 1, total] - history[k, total]
                before = NULL if hidden else earlier_label(event, now, earlier)
                if before != NULL:
                    there += 1
                    amount += before
            k -= 1
        scale = features[f, SCALE]
        value = empty[f]
        if kind == COUNT:
            value = float(there if total < 0 else amount)
        elif there > 0:
            value = float(amount) / float(scale if kind == SUM else there * scale)
        values[row, features[f, SLOT]] = value


@kernel
def hides_any(
    first: int,
    end: int,
    now: int,
    own: int,
    has_own: bool,
    seen: I64,
    rows: I64,
    history: I64,
    arrival: I64,
    input_arrival: I64,
    latest: I64,
) -> bool:
    """Whether anything of the events ``first … end - 1`` had not arrived at ``now``, but for what is the row's own.

    Mostly nothing: the own event alone arrived later than it happened.
    """
    k = end - 1
    while k >= first and latest[k] > now:
        event = rows[k]
        if _is_absent(k, now, own, has_own, event, history, arrival):
            return True
        for i in range(input_arrival.shape[0]):
            if _is_unknown(i, event, now, input_arrival) and present(history, k, seen[i]):
                return True
        k -= 1
    return False


@kernel
def keep_visible(
    shape: Shape,
    at: I64,
    group: int,
    first: int,
    now: int,
    own: int,
    has_own: bool,
    rows: I64,
    history: I64,
    arrival: I64,
    input_arrival: I64,
    earlier: I64,
    everything: bool,
    visible: I64,
    masked: I64,
) -> int:
    """The history of what had arrived, as far back as any window reaches or wholly; the number of its events."""
    features, folds, seen = shape.features, shape.folds, shape.seen
    low, high = (first, at[group, 0]) if everything else (at[group, 0], first)
    for f in range(features.shape[0]):
        leave = features[f, LEAVE]
        low = min(low, first if leave < 0 else at[group, leave])
        high = max(high, at[group, features[f, ENTER]])
    begin(visible, 0, features, folds)
    number = 0
    for k in range(low, high):
        event = rows[k]
        if _is_absent(k, now, own, has_own, event, history, arrival):
            continue
        for i in range(masked.shape[0]):
            masked[i, 0] = NULL
            if not present(history, k, seen[i]):
                continue
            if _is_unknown(i, event, now, input_arrival):
                masked[i, 0] = earlier_label(event, now, earlier)
            else:
                masked[i, 0] = history[k + 1, SUMS + i] - history[k, SUMS + i]
        put(visible, number, history[k, T], history[k, ID], masked, 0, seen, features, folds)
        number += 1
    return number
