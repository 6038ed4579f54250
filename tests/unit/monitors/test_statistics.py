"""Statistics against slow, obviously right forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.statistics import (
    average_precision,
    calibration_error,
    clipped_log_loss,
    psi,
    rank_distance,
    shares,
)

counts = st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(lambda values: sum(values) > 0)


@given(counts, st.randoms(use_true_random=False))
def test_psi_is_symmetric_and_zero_only_between_equals(values: list[int], random: object) -> None:
    expected = shares(np.array(values))
    actual = shares(np.array(values[::-1]))

    assert psi(expected, expected) == 0
    assert psi(expected, actual) == pytest.approx(psi(actual, expected))
    assert psi(expected, actual) >= 0


@given(counts)
def test_rank_distance_stays_in_its_range(values: list[int]) -> None:
    expected, actual = shares(np.array(values)), shares(np.array(values[::-1]))

    assert 0 <= rank_distance(expected, actual) <= 0.5 + 1e-12


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=40))
def test_rank_distance_is_the_wasserstein_distance_of_ranks_from_uniform(values: list[float]) -> None:
    """Ranks in 50 equal bins against the sorted ranks' distance to uniform, computed by brute force on a fine grid."""
    ranks = np.clip((np.array(values) + 3) / 6, 0, 1)
    bins = np.bincount(np.minimum((ranks * 50).astype(int), 49), minlength=50)
    grid = (np.arange(20_000) + 0.5) / 20_000
    spread = np.repeat((np.arange(50) + 0.5) / 50, bins)
    # Within a bin the rows are spread evenly, which is what the polygon assumes.
    within = np.interp(grid, np.arange(51) / 50, np.concatenate([[0], np.cumsum(bins)]) / len(spread))

    assert rank_distance(np.full(50, 0.02), shares(bins)) == pytest.approx(np.mean(np.abs(within - grid)), abs=1e-4)


def test_heavy_tails_do_not_hide_a_shift() -> None:
    """A log-normal times 1.5 has the same rank distance as its logarithm plus ln 1.5."""
    rng = np.random.default_rng(0)
    logs = rng.normal(0, 2, 20_000)
    cuts = np.quantile(logs, np.arange(1, 100) / 100)

    plain = np.bincount(np.searchsorted(cuts, logs + np.log(1.5)), minlength=100)
    tailed = np.bincount(np.searchsorted(np.exp(cuts), np.exp(logs) * 1.5), minlength=100)
    uniform = np.full(100, 0.01)

    assert rank_distance(uniform, shares(plain)) == pytest.approx(rank_distance(uniform, shares(tailed)), abs=1e-4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_average_precision_equals_its_definition(rows: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([row[0] for row in rows], int), np.array([row[1] for row in rows], float)
    expected, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        flagged = scores >= threshold
        if labels.sum():
            now = labels[flagged].sum() / labels.sum()
            expected += (now - recall) * labels[flagged].mean()
            recall = now

    found = average_precision(labels, scores)

    assert np.isnan(found) if not labels.sum() else found == pytest.approx(expected)


def test_log_loss_is_bounded_by_its_ceiling() -> None:
    losses = clipped_log_loss(np.array([1, 0, 1]), np.array([0.0, 1.0, 1.0]), ceiling=10.0)

    assert losses.tolist() == [10.0, 10.0, 0.0]


def test_a_calibrated_score_has_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    scores = rng.beta(1, 5, 200_000)

    assert calibration_error((rng.random(200_000) < scores).astype(int), scores) < 0.005
