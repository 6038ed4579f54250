"""Event ids and entity keys as 64-bit numbers, and the partition of a key: the same in every process, for ever."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["event_id64", "event_ids64", "key_partition", "key_partitions"]

_MASK = 2**64 - 1


def event_id64(value: int | str) -> int:
    """The id an event is stored under: an integer as it is, a text by its 64-bit digest (BLAKE2b).

    Two of ``n`` texts share a digest with probability ``n**2 / 2**65``: 3e-8 among a million.

    >>> event_id64(42), event_id64("a7")
    (42, 4278169734829385016)
    """
    if isinstance(value, str):
        return int.from_bytes(_digest(value), "little", signed=True)
    return int(value)


def event_ids64(values: Sequence[int | str] | NDArray[np.generic]) -> NDArray[np.int64]:
    """:func:`event_id64` of many."""
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return array.astype(np.int64, copy=False)
    return np.fromiter((event_id64(value) for value in array.tolist()), dtype=np.int64, count=len(array))


def key_partition(key: int | str, partitions: int) -> int:
    """Partition of an entity key in every keyed log: SplitMix64 of a number, BLAKE2b of a text.

    >>> [key_partition(key, 4) for key in (0, 1, 2, "a")]
    [3, 1, 2, 0]
    """
    if isinstance(key, str):
        return int.from_bytes(_digest(key), "little") % partitions
    mixed = (int(key) + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) % partitions


def key_partitions(keys: NDArray[np.generic], partitions: int) -> NDArray[np.int32]:
    """:func:`key_partition` of int64 keys, or of an object array of texts."""
    if keys.dtype.kind not in "iu":
        return np.fromiter((key_partition(key, partitions) for key in keys.tolist()), dtype=np.int32, count=len(keys))
    mixed = keys.astype(np.int64, copy=False).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(partitions)).astype(np.int32)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
