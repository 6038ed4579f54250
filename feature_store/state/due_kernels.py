"""Kernels that find the slots whose row is due without looking at all of them.

Slots that are touched go on a list. Over the instants at which the rows of the others expire stands a tree of least
ones, each of the sixteen below it; a search goes down where one has passed:

    level 1                 7                           ≤ now? down
    level 0        9        7        8 ...
    instants    12 9 40   7 31 8   touched 50 ...
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64
from feature_store.plan import NULL

__all__ = ["FAN_OUT", "expired_slots", "list_touched", "settle"]

FAN_OUT = 16
"""Two cache lines; every level is padded to a multiple."""
_BITS = 4


@kernel
def list_touched(
    slots: NDArray[np.int32], next_change: I64, is_listed: NDArray[np.bool_], touched: I64, number: int
) -> int:
    """Put the touched ones of these slots on the list, behind ``number`` others and each once; how many it has then."""
    for row in range(slots.size):
        slot = slots[row]
        if next_change[slot] == NULL and not is_listed[slot]:
            is_listed[slot] = True
            touched[number] = slot
            number += 1
    return number


@allocating_kernel
def expired_slots(next_change: I64, least: I64, starts: I64, watermark_us: int) -> tuple[I64, I64]:
    """Slots whose instant has come, rising, but for those that are touched; and the groups of slots looked at."""
    groups = np.zeros(1, dtype=np.int64)
    for level in range(starts.size - 1, -1, -1):
        groups = _passed(groups, starts[level], least, NULL, watermark_us)
    return _passed(groups, 0, next_change, NULL + 1, watermark_us), groups


@allocating_kernel
def _passed(groups: I64, start: int, instants: I64, from_us: int, to_us: int) -> I64:
    """Places, counted from ``start``, of the instants of these groups that lie between the two."""
    number = 0
    for g in range(groups.size):
        first = start + FAN_OUT * groups[g]
        for k in range(first, first + FAN_OUT):
            number += int(from_us <= instants[k]) & int(instants[k] <= to_us)
    # One place more: every instant is written down, and counts if it has passed. A branch would be guessed wrongly.
    found = np.empty(number + 1, dtype=np.int64)
    number = 0
    for g in range(groups.size):
        first = start + FAN_OUT * groups[g]
        for k in range(first, first + FAN_OUT):
            found[number] = k - start
            number += int(from_us <= instants[k]) & int(instants[k] <= to_us)
    return found[:number]


@kernel
def settle(due: I64, groups: I64, next_change: I64, least: I64, starts: I64, is_listed: NDArray[np.bool_]) -> None:
    """Bring the tree up to the new instants of the slots that were due; ``groups`` are those that were looked at."""
    for g in range(groups.size):
        least[starts[0] + groups[g]] = _least(next_change, FAN_OUT * groups[g])
    for level in range(1, starts.size):
        before = -1
        for g in range(groups.size):
            place = groups[g] >> (_BITS * level)
            if place != before:
                least[starts[level] + place] = _least(least, starts[level - 1] + FAN_OUT * place)
                before = place
    for row in range(due.size):
        slot = due[row]
        is_listed[slot] = False
        place = slot >> _BITS
        for level in range(starts.size):
            # What stands above is not later than what stands here.
            if least[starts[level] + place] <= next_change[slot]:
                break
            least[starts[level] + place] = next_change[slot]
            place >>= _BITS


@kernel
def _least(instants: I64, first: int) -> int:
    least: int = instants[first]
    for k in range(first + 1, first + FAN_OUT):
        least = min(least, instants[k])
    return least
