"""What a controller remembers of each event."""

from dataclasses import replace

import pytest

from headrace.contracts.control import Observation, OperatorCommand
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.rollout_records import begin_canary, begin_shadow, first_champion, promote
from headrace.spec.policies import RetrainPolicy
from workflows import memory as minds
from workflows.memory import ControllerMemory
from workflows.messages import RetrainOutcome, RetrainResult, RolloutOutcome, RolloutProgress, RolloutResult

DAY_US = 86_400_000_000
POLICY = RetrainPolicy(cooldown="3d", cooldown_max="14d")
FIRST = first_champion("m", "v1", reason="first", by="c", at_us=DAY_US)


def seen(window: int, at_us: int, **more: object) -> Observation:
    return Observation(model="m", window=window, at_us=at_us, **more)  # type: ignore[arg-type]  # fields of the contract


def knowing(record: RolloutRecord = FIRST, **more: object) -> ControllerMemory:
    return minds.record_read(ControllerMemory(at_us=10 * DAY_US, **more), record)  # type: ignore[arg-type]  # its fields


@pytest.mark.parametrize(
    ("window", "at_us", "is_news"),
    [(5, 500, False), (4, 400, False), (6, 500, True), (6, 600, True), (0, 600, True), (0, 400, False)],
    ids=["same", "older", "same instant", "newer", "monitor began anew", "old and anew"],
)
def test_only_what_moves_on_is_news(window: int, at_us: int, is_news: bool) -> None:
    memory = ControllerMemory(window=5, at_us=700, seen_us=500)

    assert minds.is_news(memory, seen(window, at_us)) is is_news


def test_causes_add_up_once_each() -> None:
    memory = ControllerMemory()
    for window, causes in enumerate([("a", "b"), ("b",), ("c",)]):
        memory = minds.noticed(memory, seen(window, window + 1, requests_retrain=True, causes=causes))

    assert memory.causes == ("a", "b", "c")


def test_causes_end_with_their_incident() -> None:
    memory = minds.noticed(ControllerMemory(), seen(0, 1, requests_retrain=True, causes=("a",)))

    assert minds.noticed(memory, seen(1, 2)).causes == ()


def test_a_command_may_be_ahead_of_observations_and_hides_none() -> None:
    memory = minds.noticed(ControllerMemory(), seen(0, 100))
    ahead = minds.commanded(memory, OperatorCommand(action="retrain", by="anna", at_us=900), wall_us=5)

    assert ahead.at_us == 900
    assert minds.is_news(ahead, seen(1, 200))


def test_before_any_event_time_the_wall_clock_counts() -> None:
    command = OperatorCommand(action="retrain", by="anna")

    assert minds.commanded(ControllerMemory(), command, wall_us=77).at_us == 77
    assert minds.commanded(ControllerMemory(at_us=5), command, wall_us=77).at_us == 5


def test_what_asks_for_nothing_adds_no_cause() -> None:
    assert minds.noticed(ControllerMemory(), seen(0, 1, causes=("suspected",))).causes == ()


def test_a_block_lasts_exactly_as_long_as_monitors_say() -> None:
    blocked = minds.noticed(ControllerMemory(), seen(0, 1, blocks_retrain=True))

    assert blocked.blocked
    assert not minds.noticed(blocked, seen(1, 2)).blocked


def test_event_time_never_goes_back() -> None:
    assert minds.noticed(ControllerMemory(at_us=900), seen(0, 100)).at_us == 900


def rejected(memory: ControllerMemory) -> ControllerMemory:
    result = RetrainResult(outcome=RetrainOutcome.REJECTED, reason="not better")
    return minds.retrain_ended(memory, result, POLICY)


def test_refusals_in_a_row_lengthen_the_rest_and_promotion_forgives() -> None:
    twice = rejected(rejected(knowing()))
    assert (twice.refusals, twice.cool_until_us - twice.at_us) == (2, 12 * DAY_US)

    trial = begin_shadow(FIRST, challenger="v2", rollout_id="r", salt="", reason="", by="", at_us=0)
    record = promote(begin_canary(trial, share=0.5, reason="", by="", at_us=0), reason="", by="", at_us=0)
    promoted = minds.rollout_moved(
        replace(twice, causes=("drift",)), RolloutProgress(rollout_id="r", window=3, record=record, note="")
    )

    assert (promoted.refusals, promoted.causes, promoted.promotions) == (0, (), 1)


def test_without_a_champion_refusals_do_not_count() -> None:
    memory = rejected(ControllerMemory(at_us=DAY_US))

    assert (memory.rejected, memory.refusals, memory.cool_until_us) == (1, 0, 4 * DAY_US)


def test_too_few_labels_is_no_refusal() -> None:
    result = RetrainResult(outcome=RetrainOutcome.TOO_FEW_LABELS, reason="12 of 30")
    memory = minds.retrain_ended(knowing(refusals=1), result, POLICY)

    assert (memory.rejected, memory.refusals) == (0, 1)


@pytest.mark.parametrize(
    ("outcome", "override", "refusals"),
    [
        (RolloutOutcome.ROLLED_BACK, False, 1),
        (RolloutOutcome.ROLLED_BACK, True, 0),
        (RolloutOutcome.REFUSED, False, 1),
        (RolloutOutcome.RESOLVED, False, 0),
    ],
)
def test_traffic_refuses_like_a_gate(outcome: RolloutOutcome, override: bool, refusals: int) -> None:
    result = RolloutResult(outcome=outcome, reason="because", at_us=11 * DAY_US, record=FIRST)
    memory = minds.rollout_ended(knowing(), result, POLICY, override=override)

    assert memory.refusals == refusals
    assert memory.at_us == 11 * DAY_US


def test_the_same_progress_twice_is_told_once() -> None:
    trial = begin_shadow(FIRST, challenger="v2", rollout_id="r", salt="", reason="", by="", at_us=0)
    progress = RolloutProgress(rollout_id="r", window=3, record=trial, note="shadow begins")
    once = minds.rollout_moved(knowing(), progress)

    assert minds.rollout_moved(once, progress) == once


def test_a_new_champion_starts_its_age() -> None:
    other = RolloutRecord(model="m", epoch=5, stage=Stage.STEADY, champion="v2", at_us=50 * DAY_US)
    memory = minds.record_read(knowing(), other)

    assert memory.champion_since_us == 50 * DAY_US
    assert minds.record_read(memory, replace(other, epoch=6, at_us=60 * DAY_US)).champion_since_us == 50 * DAY_US


def test_history_is_bounded() -> None:
    memory = ControllerMemory()
    for number in range(100):
        memory = minds.told(memory, f"sentence {number}")

    assert len(memory.history) == 20
    assert memory.history[-1] == "1970-01-01 00:00 sentence 99"
