"""Changing the rollout record from an activity: repeated it is one change, overtaken it changes nothing."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from temporalio.exceptions import ApplicationError

from headrace.config import Settings
from headrace.contracts.rollout import Stage
from headrace.rollout_store import RolloutStore
from tests.integration.workflow_world import Script, ScriptedActivities
from workflows.activity_messages import RolloutWrite


@pytest.fixture
def activities(stack: Settings) -> Iterator[ScriptedActivities]:
    store = RolloutStore(stack.redis.url)
    yield ScriptedActivities(store, Script(gates=[True]))
    store.close()


@pytest.fixture
def first(fresh_name: Callable[[str], str]) -> RolloutWrite:
    return RolloutWrite(
        model=fresh_name("model"),
        kind="champion",
        expected_epoch=0,
        version="v1",
        reason="first",
        by="controller",
        at_us=5,
        evidence={"gates": 3},
    )


def shadow_of(first: RolloutWrite) -> RolloutWrite:
    return replace(first, kind="shadow", expected_epoch=1, version="v2", rollout_id="v2-e1", reason="better", at_us=6)


def test_the_same_write_again_returns_the_first_one(activities: ScriptedActivities, first: RolloutWrite) -> None:
    once = activities.write_rollout(first)
    again = activities.write_rollout(first)

    assert once.change is not None
    assert again.change == once.change
    assert again.record == once.record


def test_a_repeated_write_is_known_even_after_the_next_one(activities: ScriptedActivities, first: RolloutWrite) -> None:
    once = activities.write_rollout(first)
    activities.write_rollout(shadow_of(first))
    late = activities.write_rollout(first)

    assert late.change == once.change
    assert late.record is not None
    assert late.record.stage is Stage.SHADOW


def test_whoever_was_overtaken_learns_what_is_in_force(activities: ScriptedActivities, first: RolloutWrite) -> None:
    activities.write_rollout(first)
    activities.write_rollout(shadow_of(first))
    other = replace(shadow_of(first), version="v3", rollout_id="v3-e1", reason="no, this one")
    outcome = activities.write_rollout(other)

    assert outcome.change is None
    assert outcome.record is not None
    assert outcome.record.challenger == "v2"


@pytest.mark.parametrize("kind", ["promote", "resolve", "rollback", "nonsense"])
def test_an_illegal_change_is_refused_for_good(activities: ScriptedActivities, first: RolloutWrite, kind: str) -> None:
    activities.write_rollout(first)

    with pytest.raises(ApplicationError) as caught:
        activities.write_rollout(replace(first, kind=kind, expected_epoch=1))
    assert caught.value.non_retryable


def test_nothing_but_a_champion_can_be_first(activities: ScriptedActivities, first: RolloutWrite) -> None:
    with pytest.raises(ApplicationError, match="no champion"):
        activities.write_rollout(replace(shadow_of(first), expected_epoch=0))
