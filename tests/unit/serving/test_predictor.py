"""Scores and answers: whatever a model does, the user gets a probability or a reason."""

from typing import Any

import numpy as np
import pytest

from serving.predictor import Scored, choose, score_version
from serving.router import Route

ROWS = np.zeros((2, 3))
CANARY = Route("v2", along=("v1",), understudy="v1")
LIMITS = {"v1": 0.5, "v2": 0.9}


class Fixed:
    def __init__(self, made: Any) -> None:
        self._made = made

    def score(self, matrix: Any) -> Any:
        if isinstance(self._made, Exception):
            raise self._made
        return self._made


def scored(made: Any) -> Scored:
    ticks = iter((1_000_000, 1_400_000))
    return score_version(Fixed(made), ROWS, lambda: next(ticks))


def test_scores_come_with_the_time_of_one_row() -> None:
    assert scored(np.array([0.25, 0.5])) == Scored(scores=(0.25, 0.5), latency_us=200)


def test_an_exception_becomes_one_line() -> None:
    assert scored(ValueError("two\nlines")).error == "ValueError: two lines"


@pytest.mark.parametrize("made", [np.zeros((2, 1)), np.zeros(3), np.array(["a", "b"]), None, [0.1, 0.2]])
def test_anything_but_one_number_per_row_is_another_shape(made: Any) -> None:
    assert (scored(made).scores, bool(scored(made).shape)) == (None, True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.5, -0.1])
def test_only_probabilities_are_usable(bad: float) -> None:
    seen = scored(np.array([bad, 0.5]))

    assert (seen.usable(0), seen.usable(1)) == (None, 0.5)


def test_the_routed_version_answers_and_flags_by_its_own_threshold() -> None:
    answer = choose(CANARY, 0, {"v2": Scored(scores=(0.8,))}, LIMITS)

    assert (answer.version, answer.score, answer.flagged, answer.fallback) == ("v2", 0.8, False, "")


@pytest.mark.parametrize("failed", [Scored(scores=None, error="boom"), Scored(scores=(float("nan"),))])
def test_the_understudy_answers_for_a_failed_challenger(failed: Scored) -> None:
    answer = choose(CANARY, 0, {"v2": failed, "v1": Scored(scores=(0.6,))}, LIMITS)

    assert (answer.version, answer.score, answer.flagged, answer.fallback) == ("v1", 0.6, True, "")


def test_a_version_that_tripped_does_not_answer_even_with_a_good_score() -> None:
    both = {"v2": Scored(scores=(0.8,)), "v1": Scored(scores=(0.6,))}

    assert choose(CANARY, 0, both, LIMITS, barred="v2").version == "v1"


def test_without_an_understudy_the_fallback_says_what_failed() -> None:
    answer = choose(Route("v1"), 0, {"v1": Scored(scores=None, error="boom")}, LIMITS)

    assert (answer.score, answer.flagged, answer.fallback) == (None, False, "v1 failed: boom")


def test_when_both_fail_the_first_failure_is_named() -> None:
    both = {"v2": Scored(scores=None, error="boom"), "v1": Scored(scores=(float("inf"),))}

    assert choose(CANARY, 0, both, LIMITS).fallback == "v2 failed: boom"


@pytest.mark.parametrize(("score", "flagged"), [(0.5, True), (0.49, False)])
def test_the_threshold_itself_is_flagged(score: float, flagged: bool) -> None:
    assert choose(Route("v1"), 0, {"v1": Scored(scores=(score,))}, LIMITS).flagged is flagged
