"""Keys of whole numbers as small ones, from 0."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64
from feature_store.query_kernels import dense_codes, narrow_codes

__all__ = ["number_keys"]

_SPARSE = 8
"""Places of a table of all keys for each row; keys spread wider are hashed."""


def number_keys(keys: I64, asked: I64) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Number the distinct keys.

    Args:
        keys: (n,) any whole numbers.
        asked: (q,) keys, too.

    Returns:
        Codes of ``keys`` (n,), of ``asked`` (q,), -1 where ``keys`` has it not, and how many there are.
    """
    codes, found = np.empty(len(keys), dtype=np.int32), np.empty(len(asked), dtype=np.int32)
    low, high = (int(keys.min()), int(keys.max())) if len(keys) else (0, 0)
    width = high - low + 1
    if width <= _SPARSE * (len(keys) + len(asked)):
        return codes, found, narrow_codes(keys, asked, low, width, codes, found)
    return codes, found, dense_codes(keys, asked, codes, found)
