"""The false-page budget holds on streams without drift; power is there on streams with it."""

import numpy as np
import pytest

from headrace.contracts.monitoring import Cause
from headrace.spec.policies import MonitorPolicy
from monitors.policy import benjamini_hochberg, judge_distances, level_of, persistent
from monitors.profile import profile_columns
from monitors.shape_watch import distances
from monitors.thresholds import NullCache, alarm_level, false_page_rate, simulate_null, size_bucket

COLUMNS = 12
WEEK = 168


def draw(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Normal, heavy-tailed, discrete and rare columns."""
    columns = [rng.normal(size=rows) for _ in range(COLUMNS // 4)]
    columns += [rng.lognormal(0, 2, rows) for _ in range(COLUMNS // 4)]
    columns += [rng.poisson(3, rows).astype(float) for _ in range(COLUMNS // 4)]
    columns += [(rng.random(rows) < 0.1).astype(float) for _ in range(COLUMNS // 4)]
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def profile():
    return profile_columns(
        [str(c) for c in range(COLUMNS)], draw(np.random.default_rng(0), 20_000), np.arange(20_000) * 1_000_000
    )


def alarms(profile, policy: MonitorPolicy, windows: list[np.ndarray]) -> list[set[str]]:
    nulls = NullCache()
    found = []
    for values in windows:
        null = nulls.get("model/v1/inputs", profile, len(values), level=level_of(policy))
        verdicts = judge_distances(
            Cause.DRIFT, profile.names, distances(profile, values, 0, 7 * 86_400_000_000), null, policy
        )
        found.append({verdict.subject for verdict in verdicts if verdict.alarming})
    return found


@pytest.mark.parametrize("rows", [200, 600])
def test_false_pages_stay_within_the_budget(profile, rows: int) -> None:
    """400 stable hourly windows at a budget of one page per 24 windows; an effect floor that lets noise through.

    Drift may spend a third of the budget: 5.6 pages are allowed on average, more than 12 has probability 0.5 %.
    """
    policy = MonitorPolicy(window="1h", false_pages="1 per 1 day", effect_floor=1e-6)
    rng = np.random.default_rng(1)

    found = alarms(profile, policy, [draw(rng, rows) for _ in range(400)])

    pages = sum(bool(persistent(found[: n + 1], policy.persistence)) for n in range(len(found)))
    assert sum(map(bool, found)) > 0, "a test of the budget in which nothing alarms proves nothing"
    assert pages <= 12


def test_a_year_of_small_stable_windows_pages_at_most_as_often_as_allowed(profile) -> None:
    """365 daily windows of 200 rows, one page per 30 days allowed, the floor as it is by default."""
    policy = MonitorPolicy(false_pages="1 per 30 days")
    rng = np.random.default_rng(2)

    found = alarms(profile, policy, [draw(rng, 200) for _ in range(365)])

    pages = sum(bool(persistent(found[: n + 1], policy.persistence)) for n in range(len(found)))
    assert pages <= 12


@pytest.mark.parametrize(("rows", "shift"), [(200, 0.6), (2000, 0.35)])
def test_a_real_shift_is_found_in_most_windows(profile, rows: int, shift: float) -> None:
    policy = MonitorPolicy()
    rng = np.random.default_rng(3)
    windows = [draw(rng, rows) + shift * np.eye(COLUMNS)[0] for _ in range(40)]

    found = alarms(profile, policy, windows)

    assert sum("0" in window for window in found) >= 36


def test_significance_alone_never_alarms(profile) -> None:
    """A shift of a tenth of a deviation in 20,000 rows is certain, and too small to matter."""
    rng = np.random.default_rng(4)
    window = draw(rng, 20_000) + 0.1 * np.eye(COLUMNS)[0]

    assert alarms(profile, MonitorPolicy(), [window]) == [set()]


def test_p_values_are_uniform_without_drift(profile) -> None:
    null = simulate_null(profile, 256, level=0.1, seed=1)
    rng = np.random.default_rng(5)
    found = np.array([null.p_values(distances(profile, draw(rng, 256), 0, 7 * 86_400_000_000)) for _ in range(300)])

    assert (found <= 0.1).mean() == pytest.approx(0.1, abs=0.03)


def test_threshold_and_p_value_say_the_same(profile) -> None:
    null = simulate_null(profile, 256, level=0.1, seed=1)
    for level in (0.2, 0.01, 1e-5):
        at = null.quantile(level)

        assert (null.p_values(at) <= level * (1 + 1e-9)).all()
        assert (null.p_values(at * 0.98) > level).all()


def test_the_null_is_the_same_in_every_process(profile) -> None:
    first = NullCache().get("m/v1/inputs", profile, 300, level=0.1)
    second = NullCache().get("m/v1/inputs", profile, 310, level=0.1)

    assert size_bucket(300) == size_bucket(310)
    assert np.array_equal(first.sorted_CSD, second.sorted_CSD)


@pytest.mark.parametrize("persistence", [(1, 1), (2, 3), (3, 5), (5, 5)])
def test_the_level_spends_the_budget_and_no_more(persistence: tuple[int, int]) -> None:
    level = alarm_level(0.01, persistence)

    assert false_page_rate(level, persistence) == pytest.approx(0.01)


def test_the_rate_is_that_of_independent_alarms() -> None:
    rng = np.random.default_rng(0)
    flags = rng.random(200_000) < 0.2
    recent = flags[2:].astype(int) + flags[1:-1] + flags[:-2]

    assert np.mean(flags[2:] & (recent >= 2)) == pytest.approx(false_page_rate(0.2, (2, 3)), abs=0.002)


def test_nothing_rejected_leaves_the_level_of_a_single_column() -> None:
    assert benjamini_hochberg(np.array([0.5, 0.9]), 0.1) == 0.05
