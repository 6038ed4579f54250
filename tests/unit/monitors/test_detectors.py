"""River's detectors behind a door that keeps NaN out and remembers a rise."""

import numpy as np
import pytest

from monitors.detectors import MAX_HISTORY, ChangeDetector, adwin, hddm_a


def errors(rng: np.random.Generator, share: float, rows: int = 1000) -> np.ndarray:
    return (rng.random(rows) < share).astype(float)


@pytest.mark.parametrize("make", [adwin, hddm_a])
def test_a_stable_error_raises_no_alarm(make) -> None:
    rng, detector = np.random.default_rng(0), make(0.001)

    assert all(detector.feed(errors(rng, 0.1)).rise == 0 for _ in range(30))


@pytest.mark.parametrize("make", [adwin, hddm_a])
def test_a_rise_is_found_and_remembered_until_it_is_over(make) -> None:
    rng, detector = np.random.default_rng(0), make(0.001)
    for _ in range(10):
        detector.feed(errors(rng, 0.1))

    changes = [detector.feed(errors(rng, 0.3)) for _ in range(5)]

    assert all(change.rise > 0.1 for change in changes)
    assert changes[-1].usual == pytest.approx(0.1, abs=0.02)
    detector.forget_rise()
    assert detector.feed(errors(rng, 0.3)).rise == 0


def test_a_fall_is_no_alarm() -> None:
    rng, detector = np.random.default_rng(0), adwin(0.001)
    for _ in range(10):
        detector.feed(errors(rng, 0.3))

    assert all(detector.feed(errors(rng, 0.05)).rise == 0 for _ in range(5))


def test_nan_and_infinity_do_not_reach_the_detector() -> None:
    rng, detector = np.random.default_rng(0), adwin(0.001)
    for _ in range(10):
        values = errors(rng, 0.1)
        values[:3] = [np.nan, np.inf, -np.inf]
        detector.feed(values)

    assert detector.feed(np.array([np.nan])) is None
    assert detector.feed(errors(rng, 0.5)).rise > 0.2


@pytest.mark.parametrize("make", [adwin, hddm_a])
def test_restored_equals_never_stopped(make) -> None:
    rng, steady = np.random.default_rng(0), make(0.001)
    for number in range(12):
        values = errors(rng, 0.1 if number < 6 else 0.25, rows=700)
        restored = make(0.001)
        restored.restore({name: array.copy() for name, array in steady.arrays().items()})

        assert restored.feed(values) == steady.feed(values)
        assert all(
            np.array_equal(restored.arrays()[name], array, equal_nan=True) for name, array in steady.arrays().items()
        )


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.detectors.MAX_HISTORY", 2000)
    detector: ChangeDetector = adwin(0.001)
    rng = np.random.default_rng(0)
    for _ in range(12):
        detector.feed(errors(rng, 0.1, rows=500))

    assert len(detector.arrays()["history"]) <= 2000 < MAX_HISTORY
