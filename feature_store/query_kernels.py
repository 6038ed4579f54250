"""Kernels that bring a table of events into order: duplicates found, keys numbered.

What is as long as the table is made by the caller: numpy asks for large pages of memory, kernels do not.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64, mix64

__all__ = ["dense_codes", "first_of_ids", "grouped", "is_rising", "last_positions", "narrow_codes"]


@kernel
def is_rising(first: I64, second: I64) -> bool:
    """Whether the pairs never fall."""
    for k in range(1, first.size):
        if first[k] < first[k - 1] or (first[k] == first[k - 1] and second[k] < second[k - 1]):
            return False
    return True


@kernel
def _table_size(entries: int) -> int:
    size = 64
    while size < 2 * entries:
        size *= 2
    return size


@kernel
def _place(key: int, keys: I64, table: I64) -> np.int64:
    """Place of a key in a table of rows, counted from 1 so that an empty table is zeros (quick to compile)."""
    mask = table.size - 1
    place = mix64(key) & mask
    while table[place] > 0 and keys[table[place] - 1] != key:
        place = (place + 1) & mask
    return place


@allocating_kernel
def first_of_ids(ids: I64) -> NDArray[np.bool_]:
    """Mark the first row of each id."""
    first = np.zeros(ids.size, dtype=np.bool_)
    rising = 0
    while rising < ids.size and (rising == 0 or ids[rising] > ids[rising - 1]):
        first[rising] = True
        rising += 1
    if rising == ids.size:
        return first
    table = np.zeros(_table_size(ids.size), dtype=np.int64)
    for row in range(ids.size):
        place = _place(ids[row], ids, table)
        first[row] = table[place] == 0
        if first[row]:
            table[place] = row + 1
    return first


@allocating_kernel
def last_positions(ids: I64, among: I64) -> I64:
    """Row of ``among`` that holds each id, the last of several; -1 for none."""
    table = np.zeros(_table_size(among.size), dtype=np.int64)
    for row in range(among.size):
        table[_place(among[row], among, table)] = row + 1
    found = np.empty(ids.size, dtype=np.int64)
    for row in range(ids.size):
        found[row] = table[_place(ids[row], among, table)] - 1
    return found


@allocating_kernel
def dense_codes(keys: I64, asked: I64, codes: NDArray[np.int32], found: NDArray[np.int32]) -> int:
    """Number the distinct keys from 0; gives how many there are.

    Args:
        keys, asked: columns of keys.
        codes: number of each of ``keys``; written.
        found: number of each that is asked for, -1 when it is not among ``keys``; written.
    """
    table = np.zeros(1024, dtype=np.int64)
    number = 0
    for row in range(keys.size):
        place = _place(keys[row], keys, table)
        if table[place] > 0:
            codes[row] = codes[table[place] - 1]
            continue
        table[place] = row + 1
        codes[row] = number
        number += 1
        if 2 * number > table.size:
            smaller, table = table, np.zeros(4 * table.size, dtype=np.int64)
            for k in range(smaller.size):
                if smaller[k] > 0:
                    table[_place(keys[smaller[k] - 1], keys, table)] = smaller[k]
    for row in range(asked.size):
        place = _place(asked[row], keys, table)
        found[row] = codes[table[place] - 1] if table[place] > 0 else -1
    return number


@allocating_kernel
def narrow_codes(
    keys: I64, asked: I64, low: int, width: int, codes: NDArray[np.int32], found: NDArray[np.int32]
) -> int:
    """As :func:`dense_codes`, of keys all within ``low`` and ``low + width``: no hashing, a table of them all."""
    table = np.full(width, -1, np.int32)
    number = 0
    for row in range(keys.size):
        place = keys[row] - low
        if table[place] < 0:
            table[place] = number
            number += 1
        codes[row] = table[place]
    for row in range(asked.size):
        # Compared before subtracting, which could overflow.
        found[row] = table[asked[row] - low] if low <= asked[row] <= low + (width - 1) else -1
    return number


@allocating_kernel
def grouped(rows: I64, codes: NDArray[np.int32], groups: int, order: I64) -> I64:
    """The rows of each group together, each group's in the order given; gives where each ends, (groups + 1,).

    Args:
        rows: some of the rows.
        codes: group of every row; -1 stands behind all others.
        groups: how many there are.
        order: as long as ``rows``; written.
    """
    ends = np.zeros(groups + 2, dtype=np.int64)
    for row in rows:
        code = codes[row]
        ends[(code if code >= 0 else groups) + 1] += 1
    for group in range(groups + 1):
        ends[group + 1] += ends[group]
    for row in rows:
        code = codes[row]
        group = code if code >= 0 else groups
        order[ends[group]] = row
        ends[group] += 1
    return ends[: groups + 1]
