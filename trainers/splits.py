"""Splits by time: a model is always judged on rows newer than those it learned from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import RejectedError

__all__ = ["time_split"]


def time_split(times_us: NDArray[Any], newest: float) -> int:
    """Index of the first validation row when the newest share of the rows is held out.

    Rows of one instant stay together, on the validation side.

    >>> time_split(np.array([1, 2, 3, 3, 4]), 0.4)
    2

    Args:
        times_us: (N,) sorted event times.
        newest: share held out, between 0 and 1.

    Raises:
        RejectedError: one of the two parts would be empty.
    """
    rows = len(times_us)
    wanted = rows - max(1, round(rows * newest))
    first = int(np.searchsorted(times_us, times_us[wanted], side="left")) if 0 < wanted < rows else 0
    if first == 0:
        raise RejectedError(
            f"{rows} rows cannot be split by time into training and the newest {newest:.0%} for validation",
            hint="build the training set over a longer time",
        )
    return first
