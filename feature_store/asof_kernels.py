"""Kernels of the as-of join: rows of each key together and in the order of time, then one search per question."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel

__all__ = ["ABSENT", "codes_of_numbers", "group_rows", "newest_rows", "order_groups"]

ABSENT = -1
"""No key, no row."""

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]


@allocating_kernel
def codes_of_numbers(asked: I64, stored: I64, low: int, width: int) -> tuple[I32, I32, int]:
    """Number the keys that are asked for, from 0; codes of both sides, and how many there are.

    Args:
        asked: keys of the questions, all within ``low`` and ``low + width``.
        stored: keys of the rows; those nobody asks for are ABSENT.
        low: smallest asked key.
        width: places of the table that maps a key to its code.
    """
    table = np.full(width, ABSENT, np.int32)
    asked_codes, stored_codes = np.empty(asked.size, np.int32), np.empty(stored.size, np.int32)
    known = 0
    for i in range(asked.size):
        place = asked[i] - low
        if table[place] == ABSENT:
            table[place] = known
            known += 1
        asked_codes[i] = table[place]
    for i in range(stored.size):
        # Compared before subtracting, which could overflow.
        stored_codes[i] = table[stored[i] - low] if low <= stored[i] <= low + (width - 1) else ABSENT
    return asked_codes, stored_codes, known


@allocating_kernel
def group_rows(codes: I32, groups: int) -> tuple[I64, I32]:
    """Rows by code, each group in the order given: group ``g`` has ``rows[start[g]:start[g + 1]]``."""
    start = np.zeros(groups + 1, np.int64)
    for i in range(codes.size):
        if codes[i] != ABSENT:
            start[codes[i] + 1] += 1
    for g in range(groups):
        start[g + 1] += start[g]
    place = start[:-1].copy()
    rows = np.empty(start[groups], np.int32)
    for i in range(codes.size):
        code = codes[i]
        if code != ABSENT:
            rows[place[code]] = i
            place[code] += 1
    return start, rows


@allocating_kernel
def order_groups(start: I64, rows: I32, times: I64, created: I64) -> tuple[I64, NDArray[np.bool_]]:
    """Put each group into the order (time, created), in place.

    Returns:
        Time of each place, and whether it has the time and the created time of the place before it.
    """
    placed, ties = np.empty(rows.size, np.int64), np.zeros(rows.size, np.bool_)
    for g in range(start.size - 1):
        low, high = start[g], start[g + 1]
        in_order = True
        for i in range(low, high):
            placed[i] = times[rows[i]]
            if i > low and (
                placed[i] < placed[i - 1] or (placed[i] == placed[i - 1] and created[rows[i]] < created[rows[i - 1]])
            ):
                in_order = False
        if not in_order:
            own = rows[low:high].copy()
            own = own[np.argsort(created[own], kind="mergesort")]
            own = own[np.argsort(times[own], kind="mergesort")]
            for i in range(low, high):
                rows[i] = own[i - low]
                placed[i] = times[rows[i]]
        for i in range(low + 1, high):
            ties[i] = placed[i] == placed[i - 1] and created[rows[i]] == created[rows[i - 1]]
    return placed, ties


@kernel
def newest_rows(start: I64, placed: I64, codes: I32, at: I64, ttl: int, found: I64) -> None:
    """For each question, the last place of its group at or before its time; ABSENT where none is, or all are too old.

    Args:
        start: as :func:`group_rows` says.
        placed: as :func:`order_groups` says.
        codes: group of each question; ABSENT has none.
        at: its time.
        ttl: largest age of a row; negative: any.
        found: filled.
    """
    for i in range(codes.size):
        found[i] = ABSENT
        if codes[i] == ABSENT:
            continue
        low, high = start[codes[i]], start[codes[i] + 1]
        first = low
        while low < high:
            middle = (low + high) >> 1
            if placed[middle] <= at[i]:
                low = middle + 1
            else:
                high = middle
        if low > first and (ttl < 0 or at[i] - placed[low - 1] <= ttl):
            found[i] = low - 1
