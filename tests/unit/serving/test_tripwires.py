"""Tripwires: each limit ends a trial, and nothing below it does."""

from collections.abc import Iterable

import pytest

from headrace import Tripwires
from serving.tripwires import Observation, TripState, step

LIMITS = Tripwires(max_exceptions=3, latency_ms=5, latency_strikes=4, constant_after=5)


def seen(
    score: float | None = 0.5, *, error: str = "", shape: str = "", latency_us: int = 20, inputs: bytes = b"a"
) -> Observation:
    return Observation(score=score, error=error, shape=shape, latency_us=latency_us, inputs=inputs)


def first_trip(observations: Iterable[Observation]) -> tuple[int, str]:
    """Number of the observation that trips, and the reason; (-1, "") when none does."""
    state = TripState()
    for number, observation in enumerate(observations):
        state, reason = step(state, observation, LIMITS)
        if reason:
            return number, reason
    return -1, ""


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.001, 1.001])
def test_one_score_that_is_no_probability_is_enough(score: float) -> None:
    number, reason = first_trip([seen(0.2), seen(score)])

    assert (number, "no probability" in reason) == (1, True)


def test_the_bounds_themselves_are_probabilities() -> None:
    assert first_trip([seen(0.0), seen(1.0)]) == (-1, "")


def test_exceptions_in_a_row_trip_at_the_limit() -> None:
    number, reason = first_trip(seen(None, error="ValueError: boom") for _ in range(3))

    assert (number, reason) == (2, "3 exceptions in a row, the last: ValueError: boom")


def test_a_good_score_ends_a_run_of_exceptions() -> None:
    assert first_trip([seen(None), seen(None), seen(0.1), seen(None), seen(None), seen(0.2)]) == (-1, "")


def test_an_answer_of_another_shape_trips_at_once() -> None:
    assert first_trip([seen(None, shape="f (2, 1) for 2 rows")]) == (0, "schema mismatch: f (2, 1) for 2 rows")


def test_slow_predictions_in_a_row_trip() -> None:
    number, reason = first_trip(seen(0.1 * n, latency_us=5_001) for n in range(5))

    assert (number, reason) == (3, "4 predictions in a row above 5 ms, the last 5.0 ms")


def test_a_quick_prediction_ends_a_run_of_slow_ones() -> None:
    slow, quick = 5_001, 5_000

    assert first_trip(seen(n / 9, latency_us=slow if n % 4 else quick) for n in range(9)) == (-1, "")


def test_the_same_score_for_different_inputs_trips() -> None:
    number, reason = first_trip(seen(0.25, inputs=bytes([n])) for n in range(9))

    assert (number, reason) == (4, "score 0.25 for 5 different inputs in a row")


def test_the_same_score_for_the_same_input_is_right() -> None:
    assert first_trip(seen(0.25, inputs=b"same") for _ in range(50)) == (-1, "")


def test_another_score_ends_a_constant_run() -> None:
    assert first_trip(seen(0.25 if n % 4 else 0.5, inputs=bytes([n])) for n in range(20)) == (-1, "")
