"""Kernels that find the slots whose row is due without looking at all of them.

Over the instants stands a tree of least ones, each of the sixteen below it; a search goes down where one has passed:

    level 1                 7                           ≤ now? down
    level 0        9        7        NULL ...
    instants    12 9 40   7 31 8   NULL 50 ...
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64
from feature_store.plan import NULL

__all__ = ["FAN_OUT", "due_slots", "note_touched", "settle"]

FAN_OUT = 16
"""Two cache lines; every level is padded to a multiple."""
_BITS = 4


@kernel
def note_touched(slots: NDArray[np.int32], next_change: I64, least: I64, starts: I64) -> None:
    """Tell the tree which of these slots are due at once."""
    for row in range(slots.size):
        if next_change[slots[row]] != NULL:
            continue
        place = slots[row] >> _BITS
        for level in range(starts.size):
            # Nothing is below NULL, so what stands above it is NULL, too.
            if least[starts[level] + place] == NULL:
                break
            least[starts[level] + place] = NULL
            place >>= _BITS


@allocating_kernel
def due_slots(next_change: I64, least: I64, starts: I64, watermark_us: int) -> tuple[I64, I64]:
    """Slots whose instant is not after the watermark, rising; and the groups of slots that were looked at."""
    groups = np.zeros(1, dtype=np.int64)
    for level in range(starts.size - 1, -1, -1):
        groups = _passed(groups, starts[level], least, watermark_us)
    return _passed(groups, 0, next_change, watermark_us), groups


@allocating_kernel
def _passed(groups: I64, start: int, instants: I64, watermark_us: int) -> I64:
    """Places, counted from ``start``, of instants in these groups that are not after the watermark."""
    number = 0
    for g in range(groups.size):
        first = start + FAN_OUT * groups[g]
        for k in range(first, first + FAN_OUT):
            number += instants[k] <= watermark_us
    # One place more: every instant is written down, and counts if it has passed. A branch would be guessed wrongly.
    found = np.empty(number + 1, dtype=np.int64)
    number = 0
    for g in range(groups.size):
        first = start + FAN_OUT * groups[g]
        for k in range(first, first + FAN_OUT):
            found[number] = k - start
            number += instants[k] <= watermark_us
    return found[:number]


@kernel
def settle(groups: I64, next_change: I64, least: I64, starts: I64) -> None:
    """Work out the least instants of these groups of slots, and what stands above them, anew."""
    for g in range(groups.size):
        least[starts[0] + groups[g]] = _least(next_change, FAN_OUT * groups[g])
    for level in range(1, starts.size):
        before = -1
        for g in range(groups.size):
            place = groups[g] >> (_BITS * level)
            if place != before:
                least[starts[level] + place] = _least(least, starts[level - 1] + FAN_OUT * place)
                before = place


@kernel
def _least(instants: I64, first: int) -> int:
    least: int = instants[first]
    for k in range(first + 1, first + FAN_OUT):
        least = min(least, instants[k])
    return least
