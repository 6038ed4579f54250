"""Distances, losses and rates: plain numbers, each from its published formula. Verdicts are made in policy.py.

Shapes: C columns, B bins, D draws. Bins stand on the last axis; leading axes are free.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "SHARE_FLOOR",
    "average_precision",
    "brier",
    "calibration_error",
    "clipped_log_loss",
    "psi",
    "rank_distance",
    "shares",
]

Array = NDArray[Any]

SHARE_FLOOR = 1e-4
"""Share an empty bin is taken to have in PSI, so that the logarithm exists; Evidently uses the same."""


def shares(counts_B: Array) -> Array:
    """Counts as shares of their sum; all zero when nothing was counted.

    >>> shares(np.array([1, 3])).tolist()
    [0.25, 0.75]
    """
    total = counts_B.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(counts_B, total, out=np.zeros(np.shape(counts_B)), where=total > 0))


def psi(expected_B: Array, actual_B: Array) -> Array:
    """Population stability index: sum over bins of (actual - expected) ln(actual / expected).

    Symmetric, 0 when equal, unbounded. It is the Jeffreys divergence of the binned distributions (Jeffreys 1946;
    Siddiqi 2006 for the use in scoring). Without drift its mean is about (B - 1)(1/n + 1/m) for n and m rows
    (Yurdakul 2018), so small windows need larger thresholds: see thresholds.py.

    Args:
        expected_B: shares in the reference.
        actual_B: shares in the window.

    >>> round(float(psi(np.array([0.5, 0.5]), np.array([0.75, 0.25]))), 4)  # 0.25 ln 1.5 + 0.25 ln 2
    0.2747
    """
    expected = np.maximum(expected_B, SHARE_FLOOR)
    actual = np.maximum(actual_B, SHARE_FLOOR)
    return np.asarray(((actual - expected) * np.log(actual / expected)).sum(axis=-1))


def rank_distance(expected_B: Array, actual_B: Array) -> Array:
    """Mean distance between the window's ranks in the reference and uniform ranks, 0 to 0.5.

    Each value is mapped through the reference's distribution function; this is the Wasserstein-1 distance of the
    result from uniform, the integral of |F_window(u) - u| over ranks u. It is free of the feature's scale and tails.

        rank u   0 ────────── 1      bins hold reference mass; the difference of the two distribution functions
        diff       ╱╲   ╱            is a polygon with corners at the bins' right edges

    >>> half = np.array([0.5, 0.5])
    >>> float(rank_distance(half, half)), float(rank_distance(half, np.array([0.0, 1.0])))
    (0.0, 0.25)
    """
    corner = np.cumsum(actual_B - expected_B, axis=-1)
    left = np.concatenate([np.zeros_like(corner[..., :1]), corner[..., :-1]], axis=-1)
    left, right = np.abs(left), np.abs(corner)
    # A segment that crosses zero is two triangles, not a trapezoid.
    crosses = np.sign(np.concatenate([np.zeros_like(corner[..., :1]), corner[..., :-1]], axis=-1)) * np.sign(corner) < 0
    total = np.where(left + right > 0, left + right, 1.0)
    height = np.where(crosses, (left**2 + right**2) / total, left + right) / 2
    return np.asarray((np.broadcast_to(expected_B, height.shape) * height).sum(axis=-1))


def clipped_log_loss(labels: Array, scores: Array, *, ceiling: float) -> Array:
    """-ln(probability given to what happened), row by row, at most ``ceiling``.

    The bound makes sums of losses fit for sequential tests, and one absurd score cannot decide a rollout.

    >>> clipped_log_loss(np.array([1, 1]), np.array([0.5, 0.0]), ceiling=10.0).round(4).tolist()
    [0.6931, 10.0]
    """
    given = np.where(labels == 1, scores, 1.0 - scores)
    return np.asarray(np.minimum(-np.log(np.maximum(given, np.finfo(np.float64).tiny)), ceiling) + 0.0)


def brier(labels: Array, scores: Array) -> float:
    """Mean squared distance of probability and outcome (Brier 1950).

    >>> brier(np.array([1, 0]), np.array([0.5, 1.0]))
    0.625
    """
    return float(np.mean((scores - labels) ** 2))


def average_precision(labels: Array, scores: Array) -> float:
    """Sum over thresholds of (step in recall) x precision (Davis and Goadrich 2006); NaN without positives.

    >>> average_precision(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    positives = int(np.sum(labels == 1))
    if positives == 0:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # equal scores share one threshold
    hits = np.cumsum(labels[order] == 1)[ends]
    steps = np.diff(hits, prepend=0)
    return float(np.sum(steps * hits / (ends + 1)) / positives)


def calibration_error(labels: Array, scores: Array, bins: int = 10) -> float:
    """Mean over equal-count bins of |mean score - share of positives|, weighted by rows (Naeini et al. 2015).

    >>> calibration_error(np.array([0, 0, 1, 1]), np.array([0.1, 0.1, 0.8, 0.8]), bins=2)
    0.15
    """
    if not len(scores):
        return float("nan")
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    gaps = [abs(float(np.sum(scores[part] - labels[part]))) for part in parts]
    return round(sum(gaps) / len(scores), 12)
