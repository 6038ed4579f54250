"""Calibration undoes the weight of positives and what is left of over-confidence."""

import numpy as np
import pytest

from headrace.artifact_format import sigmoid
from trainers.calibration import MIN_POSITIVES, fit_calibration
from trainers.metrics import expected_calibration_error


def _outcomes(rows: int = 50_000) -> tuple[np.ndarray, np.ndarray]:
    """Log odds of outcomes, and the outcomes."""
    generator = np.random.default_rng(0)
    log_odds = generator.normal(-4.0, 2.0, rows)
    return log_odds, (generator.random(rows) < sigmoid(log_odds)).astype(int)


def test_the_weight_of_positives_is_undone() -> None:
    log_odds, labels = _outcomes()
    weighted = log_odds + np.log(4.0)

    slope, intercept = fit_calibration(weighted, labels, positive_weight=4.0)

    assert expected_calibration_error(labels, sigmoid(weighted)) > 0.03
    assert expected_calibration_error(labels, sigmoid(slope * weighted + intercept)) < 0.004


def test_over_confidence_is_undone() -> None:
    log_odds, labels = _outcomes()

    slope, intercept = fit_calibration(2.5 * log_odds, labels, positive_weight=1.0)

    assert slope == pytest.approx(0.4, rel=0.1)
    assert expected_calibration_error(labels, sigmoid(slope * 2.5 * log_odds + intercept)) < 0.004


@pytest.mark.parametrize("labels", [np.zeros(5000, int), np.r_[np.ones(MIN_POSITIVES - 1, int), np.zeros(4000, int)]])
def test_with_few_positives_the_prior_correction_stands_alone(labels: np.ndarray) -> None:
    logits = np.random.default_rng(0).normal(size=len(labels))

    assert fit_calibration(logits, labels, positive_weight=4.0) == (1.0, pytest.approx(-np.log(4.0)))


def test_the_ranking_is_never_turned_around() -> None:
    log_odds, labels = _outcomes()

    assert fit_calibration(-log_odds, labels, positive_weight=1.0)[0] > 0


def test_separable_scores_do_not_break_it() -> None:
    labels = np.r_[np.zeros(500, int), np.ones(500, int)]

    slope, intercept = fit_calibration(np.where(labels == 1, 50.0, -50.0), labels, positive_weight=4.0)

    assert slope > 0
    assert np.isfinite([slope, intercept]).all()
