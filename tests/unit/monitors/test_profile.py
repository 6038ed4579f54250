"""Bins of the reference."""

import numpy as np
import pytest

from monitors.profile import DAY_US, WEEK_US, profile_columns
from monitors.statistics import psi, shares

NOON_US = 1_522_584_000_000_000


def profile_of(values: np.ndarray, times_us: np.ndarray | None = None):
    times = np.arange(len(values)) * 1_000_000 if times_us is None else times_us
    return profile_columns(["x"], np.asarray(values, float)[:, None], times)


def distance(profile, values) -> float:
    actual = shares(profile.counts(np.asarray(values, float)[:, None]))
    return float(psi(profile.coarse(profile.shares_CB), profile.coarse(actual))[0])


def test_every_value_falls_into_one_bin() -> None:
    profile = profile_of(np.random.default_rng(0).normal(size=5000))

    assert profile.counts(np.array([[-1e9], [0.0], [1e9], [np.inf], [-np.inf]])).sum() == 5


def test_the_reference_has_no_distance_to_itself() -> None:
    values = np.random.default_rng(0).lognormal(0, 2, 5000)

    assert distance(profile_of(values), values) == 0


def test_ties_do_not_split_the_coarse_bins() -> None:
    """Nine of ten values are zero: the coarse edge is zero itself, and zeros lie on one side of it."""
    values = np.concatenate([np.zeros(900), np.random.default_rng(0).random(100)])
    profile = profile_of(values)

    assert distance(profile, values) == 0
    assert distance(profile, np.zeros(100)) > 0


def test_a_constant_column_can_drift_either_way() -> None:
    profile = profile_of(np.zeros(1000))

    assert distance(profile, np.zeros(10)) == 0
    assert distance(profile, np.ones(10)) > 5
    assert distance(profile, -np.ones(10)) > 5


def test_nulls_are_counted_apart() -> None:
    values = np.where(np.arange(1000) % 4 == 0, np.nan, np.arange(1000.0))
    profile = profile_of(values)

    assert profile.null_rates_C[0] == 0.25
    assert profile.counts(np.full((5, 1), np.nan)).sum() == 0
    assert profile.shares_CB.sum() == pytest.approx(1)


def test_a_column_of_nulls_has_no_bins_to_speak_of() -> None:
    profile = profile_of(np.full(100, np.nan))

    assert profile.null_rates_C[0] == 1
    assert profile.shares_CB.sum() == 0


def test_a_saturday_is_compared_with_saturdays() -> None:
    """28 days of rows; a flag that is 1 on two days of seven."""
    times = NOON_US // WEEK_US * WEEK_US + np.arange(28 * 400) * (DAY_US // 400)
    weekday = times // DAY_US % 7
    profile = profile_of((weekday >= 5).astype(float), times)
    saturday = NOON_US // WEEK_US * WEEK_US + 33 * DAY_US

    season = profile.season(saturday, saturday + DAY_US)

    assert season is not None
    actual = shares(profile.counts(np.ones((400, 1))))
    assert float(psi(profile.coarse(season), profile.coarse(actual))[0]) == 0
    assert distance(profile, np.ones(400)) > 1


def test_a_week_has_no_season() -> None:
    times = NOON_US + np.arange(2000) * (DAY_US // 100)

    assert profile_of(np.arange(2000.0), times).season(NOON_US, NOON_US + WEEK_US) is None
