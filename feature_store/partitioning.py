"""The partition of an entity key: the same in every process, for ever."""

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import event_id64
from feature_store.kernel_cache import plain
from feature_store.partition_kernels import choose_partitions

__all__ = ["key_partition", "key_partitions"]

_MASK = 2**64 - 1


def key_partition(key: int | str, partitions: int) -> int:
    """Partition of an entity key in every keyed log: SplitMix64 of a number, BLAKE2b of a text.

    >>> [key_partition(key, 4) for key in (0, 1, 2, "a")]
    [3, 1, 2, 0]
    """
    if isinstance(key, str):
        return (event_id64(key) & _MASK) % partitions
    mixed = (int(key) + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) % partitions


def key_partitions(keys: NDArray[np.generic], partitions: int) -> NDArray[np.int32]:
    """:func:`key_partition` of int64 keys, or of an object array of texts."""
    if keys.dtype.kind not in "iu":
        return np.fromiter((key_partition(key, partitions) for key in keys.tolist()), dtype=np.int32, count=len(keys))
    chosen = np.empty(len(keys), np.int32)
    choose_partitions(plain(keys), partitions, chosen)
    return chosen
