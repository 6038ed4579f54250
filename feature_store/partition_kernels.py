"""Kernel of :mod:`feature_store.partitioning`."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64, spread

__all__ = ["choose_partitions"]


@kernel
def choose_partitions(keys: I64, partitions: int, chosen: NDArray[np.int32]) -> None:
    """Write the partition of each of (n,) keys."""
    for row in range(keys.size):
        chosen[row] = spread(keys[row]) % np.uint64(partitions)
