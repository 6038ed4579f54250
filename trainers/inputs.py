"""Standardisation constants of the inputs, learned from the training rows alone.

The arithmetic itself stands in :mod:`headrace.artifact_format`, so training and serving cannot disagree about it.
Both the plain and the logarithmic form of an input are used: on the card data (28 days, three seeds) that gave
average precision 0.747 against 0.736 for plain and 0.741 for logarithmic inputs alone.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.artifact_format import expand
from headrace.errors import RejectedError

__all__ = ["fit_standardisation"]

Array = NDArray[Any]


def fit_standardisation(features_NF: Array, names: tuple[str, ...]) -> tuple[Array, Array]:
    """Mean and deviation of the expanded inputs over their non-null training rows, each (2F,) float64.

    An input that is always null has mean 0; one that never varies has deviation 1.

    >>> mean, scale = fit_standardisation(np.array([[1.0], [3.0], [np.nan]]), ("x",))
    >>> float(mean[0]), float(scale[0])
    (2.0, 1.0)

    Raises:
        RejectedError: an input is infinite somewhere.
    """
    infinite = np.isinf(features_NF).any(axis=0)
    if infinite.any():
        raise RejectedError(
            f"input {names[int(infinite.argmax())]!r} holds infinite values", hint="correct the feature's definition"
        )
    expanded = expand(features_NF)
    known = ~np.isnan(expanded)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, expanded, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, expanded - mean, 0.0) ** 2).sum(axis=0) / count)
    # A deviation that is only rounding noise would blow the input up.
    return mean, np.where(spread > 1e-9 * np.maximum(np.abs(mean), 1.0), spread, 1.0)
