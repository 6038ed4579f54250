"""Metrics equal scikit-learn's on any labels, scores and weights, ties included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from trainers.metrics import METRICS, average_precision, expected_calibration_error, roc_auc

CASES = st.integers(2, 60).flatmap(
    lambda rows: st.tuples(
        st.lists(st.integers(0, 1), min_size=rows, max_size=rows),
        st.lists(st.integers(0, 8).map(lambda step: step / 8), min_size=rows, max_size=rows),
        st.lists(st.integers(0, 3), min_size=rows, max_size=rows),
    )
)
PEERS = {
    "average_precision": sk.average_precision_score,
    "roc_auc": sk.roc_auc_score,
    "log_loss": lambda labels, scores, sample_weight: sk.log_loss(
        labels, scores, sample_weight=sample_weight, labels=[0, 1]
    ),
    "brier": sk.brier_score_loss,
}


@given(case=CASES)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("name", PEERS)
def test_equal_to_scikit_learn(name: str, case: tuple[list[int], list[float], list[int]]) -> None:
    labels, scores, weights = (np.array(part) for part in case)
    if np.sum(weights * labels) == 0 or np.sum(weights * (1 - labels)) == 0:
        return

    assert METRICS[name](labels, scores, weights) == pytest.approx(
        PEERS[name](labels, scores, sample_weight=weights), abs=1e-12
    )


def test_a_weight_of_two_is_two_rows() -> None:
    labels, scores = np.array([1, 0, 0, 1]), np.array([0.9, 0.8, 0.3, 0.2])
    twice = np.array([0, 1, 1, 2, 3])

    for metric in METRICS.values():
        assert metric(labels, scores, np.array([1, 2, 1, 1])) == pytest.approx(
            metric(labels[twice], scores[twice], None)
        )


@pytest.mark.parametrize("labels", [np.zeros(4), np.zeros(0)])
def test_without_a_positive_there_is_no_value(labels: np.ndarray) -> None:
    scores = np.linspace(0, 1, len(labels))

    assert math.isnan(average_precision(labels, scores))
    assert math.isnan(roc_auc(labels, scores))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_not_finite_have_no_quality(bad: float) -> None:
    labels, scores = np.array([1, 0]), np.array([bad, 0.5])

    assert math.isnan(average_precision(labels, scores))
    assert math.isnan(roc_auc(labels, scores))
    assert math.isnan(expected_calibration_error(labels, scores))


def test_calibrated_scores_have_a_small_calibration_error() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(200_000) ** 4
    labels = (generator.random(len(scores)) < scores).astype(int)

    assert expected_calibration_error(labels, scores) < 0.002
    assert expected_calibration_error(labels, np.minimum(1, 2 * scores)) > 0.1
