"""From logits to probabilities: undo the weight of positives, then fit what is left on held-out rows.

A loss that counts a positive w times makes the odds w times too large, so the logit minus log(w) is right for a
network that is right otherwise (King and Zeng 2001, prior correction). Platt's line (Platt 1999, with his smoothed
targets) is fitted on the validation rows from there, when they hold enough positives to say more.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.artifact_format import sigmoid

__all__ = ["MIN_POSITIVES", "fit_calibration"]

Array = NDArray[Any]

MIN_POSITIVES = 20
"""Fewer say too little about a slope: the prior correction stands alone."""
ITERATIONS = 50
"""Newton converges in under ten; more means that it does not."""


def fit_calibration(logits: Array, labels: Array, *, positive_weight: float) -> tuple[float, float]:
    """Slope and intercept of the calibrated log odds.

    >>> fit_calibration(np.array([0.0, 1.0]), np.array([0, 1]), positive_weight=1.0)  # too few rows to fit
    (1.0, 0.0)

    Args:
        logits: (N,) of held-out rows.
        labels: (N,) 0 or 1.
        positive_weight: weight of a positive in the loss.
    """
    prior = (1.0, -float(np.log(positive_weight)))
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if min(positives, negatives) < MIN_POSITIVES:
        return prior
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    slope, intercept = prior
    for _ in range(ITERATIONS):
        score = sigmoid(slope * logits + intercept)
        gradient = np.array([np.sum((score - target) * logits), np.sum(score - target)])
        spread = score * (1 - score)
        cross = np.sum(spread * logits)
        hessian = np.array([[np.sum(spread * logits**2), cross], [cross, np.sum(spread)]])
        try:
            step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        except np.linalg.LinAlgError:
            return prior
        slope, intercept = slope - float(step[0]), intercept - float(step[1])
        if np.abs(step).max() < 1e-10:
            break
    converged = bool(np.isfinite([slope, intercept]).all()) and float(np.abs(step).max()) < 1e-6
    # A slope of zero or less would turn the ranking around.
    return (slope, intercept) if converged and slope > 0 else prior
