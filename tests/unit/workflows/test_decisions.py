"""Decisions to retrain, case by case; laws of the rollout steps are in tests/property."""

from dataclasses import replace

import pytest

from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.spec.policies import RetrainPolicy, RolloutPolicy
from workflows.decisions import Situation, Wait, decide_retrain, plan, rest_us, successor

DAY_US = 86_400_000_000
POLICY = RetrainPolicy(test="7d", cooldown="3d", max_age="60d")
QUIET = Situation(
    now_us=100 * DAY_US,
    busy=False,
    blocked=False,
    cool_until_us=0,
    champion="v1",
    champion_since_us=90 * DAY_US,
    causes=(),
    manual="",
    first_us=1,
    label_delay_us=7 * DAY_US,
)


def test_nothing_asks_nothing_starts() -> None:
    assert decide_retrain(QUIET, POLICY).start is False
    assert decide_retrain(QUIET, POLICY).waits_for is Wait.NOTHING


@pytest.mark.parametrize(
    ("asking", "reason"),
    [
        ({"causes": ("drift in x", "quality")}, "drift in x, quality"),
        ({"champion_since_us": 40 * DAY_US}, "champion is 60d old"),
        ({"manual": "anna: please"}, "anna: please"),
        ({"champion": "", "first_us": 79 * DAY_US}, "first model"),
    ],
)
def test_any_of_the_causes_is_enough(asking: dict[str, object], reason: str) -> None:
    decision = decide_retrain(replace(QUIET, **asking), POLICY)

    assert (decision.start, decision.reason) == (True, reason)


def test_a_first_model_waits_for_labels_to_mature() -> None:
    young = replace(QUIET, champion="", first_us=79 * DAY_US + 1)

    assert decide_retrain(young, POLICY).start is False


@pytest.mark.parametrize(
    ("against", "wait"),
    [
        ({"busy": True}, Wait.BUSY),
        ({"blocked": True}, Wait.BLOCKED),
        ({"cool_until_us": 100 * DAY_US + 1}, Wait.COOLING),
    ],
)
def test_each_objection_is_seen_to_hold_a_retraining_back(against: dict[str, object], wait: Wait) -> None:
    decision = decide_retrain(replace(QUIET, causes=("drift",), **against), POLICY)

    assert (decision.start, decision.waits_for) == (False, wait)


def test_a_person_need_not_wait_for_the_rest_but_for_the_data() -> None:
    asked = replace(QUIET, manual="anna: now", cool_until_us=200 * DAY_US)

    assert decide_retrain(asked, POLICY).start
    assert not decide_retrain(replace(asked, blocked=True), POLICY).start


def test_the_rest_never_shrinks_and_never_exceeds_its_maximum() -> None:
    rests = [rest_us(POLICY, refusals) for refusals in range(100)]

    assert rests == sorted(rests)
    assert rests[0] == POLICY.cooldown_us
    assert rests[-1] == POLICY.cooldown_max_us


def test_stages_follow_the_policy() -> None:
    policy = RolloutPolicy(stages=(0.05, 0.25))

    def after(stage: Stage, share: float) -> tuple[Stage, float]:
        return successor(RolloutRecord(model="m", epoch=1, stage=stage, champion="v1", share=share), policy)

    assert after(Stage.SHADOW, 0.0) == (Stage.CANARY, 0.05)
    assert after(Stage.CANARY, 0.05) == (Stage.CANARY, 0.25)
    assert after(Stage.CANARY, 0.10) == (Stage.CANARY, 0.25)
    assert after(Stage.CANARY, 0.25) == (Stage.PROBATION, 0.0)
    assert after(Stage.PROBATION, 0.0) == (Stage.STEADY, 0.0)


def test_the_plan_states_what_it_can_detect() -> None:
    stated = plan(RolloutPolicy())

    assert stated["stages"] == ["shadow 1d", "5% 1d", "25% 1d"]
    assert set(stated["detectable"]) == {"1000", "10000", "100000"}  # type: ignore[call-overload]  # a plain value
