"""Quality of scores against labels: plain numbers, each from its textbook formula.

Every metric takes labels (0 or 1) and scores (probabilities) of equal length and, where a bootstrap needs it, weights:
a row with weight 2 counts as two rows. Checked against scikit-learn in the tests. NaN where a metric has no value.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HIGHER_IS_BETTER",
    "METRICS",
    "RankedScores",
    "average_precision",
    "brier",
    "expected_calibration_error",
    "log_loss",
    "roc_auc",
]

Array = NDArray[Any]

CLIP = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 inside a logarithm, as scikit-learn does."""


class RankedScores:
    """Scores sorted once, so that the same rows can be judged under many weights in linear time each."""

    def __init__(self, labels: Array, scores: Array) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._positive = labels[self._order] == 1
        ranked = scores[self._order]
        # A threshold can only lie behind the last of equal scores.
        self._ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
        self._valid = bool(np.isfinite(scores).all()) and len(scores) > 0

    def average_precision(self, weights: Array | None = None) -> float:
        """Sum over thresholds of (recall step) x precision; Davis and Goadrich 2006, as in scikit-learn."""
        hits, misses = self._curve(weights)
        if not self._valid or hits[-1] == 0:
            return float("nan")
        total = hits + misses
        precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
        return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])

    def roc_auc(self, weights: Array | None = None) -> float:
        """Probability that a positive scores above a negative, ties half; area by trapezoids (Fawcett 2006)."""
        hits, misses = self._curve(weights)
        if not self._valid or hits[-1] == 0 or misses[-1] == 0:
            return float("nan")
        heights = hits - 0.5 * np.diff(hits, prepend=0.0)
        return float(np.sum(np.diff(misses, prepend=0.0) * heights) / (hits[-1] * misses[-1]))

    def _curve(self, weights: Array | None) -> tuple[Array, Array]:
        ranked = np.ones(len(self._order)) if weights is None else weights[self._order].astype(np.float64)
        if not len(ranked):
            return np.zeros(1), np.zeros(1)
        hits = np.cumsum(ranked * self._positive)[self._ends]
        return hits, np.cumsum(ranked)[self._ends] - hits


def average_precision(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Area under precision over recall.

    >>> average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    return RankedScores(labels, scores).average_precision(weights)


def roc_auc(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Area under the ROC curve.

    >>> roc_auc(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))  # 3 of 4 pairs in order
    0.75
    """
    return RankedScores(labels, scores).roc_auc(weights)


def log_loss(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Mean of -log(probability given to what happened).

    >>> round(log_loss(np.array([1, 0]), np.array([0.5, 0.5])), 6)
    0.693147
    """
    clipped = np.clip(scores, CLIP, 1 - CLIP)
    return _mean(-np.where(labels == 1, np.log(clipped), np.log1p(-clipped)), weights)


def brier(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """Mean squared distance of probability and outcome (Brier 1950).

    >>> brier(np.array([1, 0]), np.array([0.5, 1.0]))
    0.625
    """
    return _mean((scores - labels) ** 2, weights)


def expected_calibration_error(labels: Array, scores: Array, bins: int = 10) -> float:
    """Mean over equal-count bins of |mean score - share of positives|, weighted by rows (Naeini et al. 2015).

    >>> expected_calibration_error(np.array([0, 1, 1, 1]), np.array([0.5, 0.5, 1.0, 1.0]), bins=2)
    0.0
    >>> expected_calibration_error(np.array([0, 0]), np.array([0.25, 0.25]), bins=1)
    0.25
    """
    if not len(scores) or not np.isfinite(scores).all():
        return float("nan")
    order = np.argsort(scores, kind="stable")
    gaps = [abs(float(np.sum(scores[part] - labels[part]))) for part in np.array_split(order, min(bins, len(order)))]
    return sum(gaps) / len(scores)


METRICS: dict[str, Callable[[Array, Array, Array | None], float]] = {
    "average_precision": average_precision,
    "roc_auc": roc_auc,
    "log_loss": log_loss,
    "brier": brier,
}
"""By the names gates use."""

HIGHER_IS_BETTER = {"average_precision": True, "roc_auc": True, "log_loss": False, "brier": False}


def _mean(values: Array, weights: Array | None) -> float:
    if not len(values):
        return float("nan")
    return float(np.mean(values) if weights is None else np.sum(values * weights) / np.sum(weights))
