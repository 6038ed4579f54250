"""Kernels of the as-of join: rows of each key together and in the order of time, then one search per question."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel

__all__ = ["ABSENT", "group_rows", "newest_rows", "order_groups"]

ABSENT = -1
"""No key, no row."""

_ABREAST = 32
"""Searches side by side."""

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]


@allocating_kernel
def group_rows(codes: I32, groups: int, times: I64) -> tuple[I64, I32, I64]:
    """Rows by code, each group in the order given: group ``g`` has ``rows[start[g]:start[g + 1]]``.

    Returns:
        ``start``, ``rows``, and the time of each place in ``rows``.
    """
    start = np.zeros(groups + 1, np.int64)
    for i in range(codes.size):
        if codes[i] != ABSENT:
            start[codes[i] + 1] += 1
    for g in range(groups):
        start[g + 1] += start[g]
    place = start[:-1].copy()
    rows, placed = np.empty(start[groups], np.int32), np.empty(start[groups], np.int64)
    for i in range(codes.size):
        code = codes[i]
        if code != ABSENT:
            rows[place[code]] = i
            placed[place[code]] = times[i]
            place[code] += 1
    return start, rows, placed


@allocating_kernel
def order_groups(start: I64, rows: I32, placed: I64, created: I64) -> NDArray[np.bool_]:
    """Put each group into the order (time, created), in place: ``rows`` and ``placed``, the times of its places.

    Returns:
        Whether a place has the time and the created time of the place before it.
    """
    ties = np.zeros(rows.size, np.bool_)
    for g in range(start.size - 1):
        low, high = start[g], start[g + 1]
        in_order = True
        for i in range(low + 1, high):
            if placed[i] < placed[i - 1] or (placed[i] == placed[i - 1] and created[rows[i]] < created[rows[i - 1]]):
                in_order = False
                break
        if not in_order:
            own, times = rows[low:high].copy(), placed[low:high].copy()
            by_created = np.argsort(created[own], kind="mergesort")
            order = by_created[np.argsort(times[by_created], kind="mergesort")]
            for i in range(low, high):
                rows[i] = own[order[i - low]]
                placed[i] = times[order[i - low]]
        for i in range(low + 1, high):
            if placed[i] == placed[i - 1]:
                ties[i] = created[rows[i]] == created[rows[i - 1]]
    return ties


@allocating_kernel
def newest_rows(start: I64, placed: I64, codes: I32, at: I64, ttl: int) -> I64:
    """For each question, the last place of its group at or before its time; ABSENT where none is, or all are too old.

    Many searches go on side by side, each half a step further in turn, so that their waits for memory overlap.

    Args:
        start: as :func:`group_rows` says.
        placed: times, as :func:`order_groups` leaves them.
        codes: group of each question; ABSENT has none.
        at: its time.
        ttl: largest age of a row; negative: any.
    """
    found = np.empty(codes.size, np.int64)
    base, left = np.empty(_ABREAST, np.int64), np.empty(_ABREAST, np.int64)
    for block in range(0, codes.size, _ABREAST):
        width = min(_ABREAST, codes.size - block)
        most = 0
        for j in range(width):
            code = codes[block + j]
            base[j], left[j] = (0, 0) if code == ABSENT else (start[code], start[code + 1] - start[code])
            most = max(most, left[j])
        while most > 1:
            for j in range(width):
                half = left[j] >> 1
                if half > 0:
                    base[j] += half if placed[base[j] + half - 1] <= at[block + j] else 0
                    left[j] -= half
            most -= most >> 1
        for j in range(width):
            i = block + j
            found[i] = ABSENT
            if left[j] > 0:
                last = base[j] if placed[base[j]] <= at[i] else base[j] - 1
                if last >= start[codes[i]] and (ttl < 0 or at[i] - placed[last] <= ttl):
                    found[i] = last
    return found
