"""Laws of the rollout record's transitions."""

import pytest

from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.errors import RejectedError
from headrace.rollout_records import (
    TRANSITIONS,
    begin_canary,
    begin_shadow,
    first_champion,
    promote,
    resolve,
    rollback,
)

WHO = {"reason": "because", "by": "test"}


def steady() -> RolloutRecord:
    return first_champion("fraud", "v1", at_us=1, **WHO)


def shadow() -> RolloutRecord:
    return begin_shadow(steady(), challenger="v2", rollout_id="v2-e1", salt="s", at_us=2, **WHO)


def canary(share: float = 0.05) -> RolloutRecord:
    return begin_canary(shadow(), share=share, at_us=3, **WHO)


def probation() -> RolloutRecord:
    return promote(canary(), at_us=4, **WHO)


@pytest.mark.parametrize("record", [shadow(), canary(), probation()], ids=lambda r: str(r.stage))
def test_rollback_puts_the_champion_of_before_alone_in_force(record: RolloutRecord) -> None:
    back = rollback(record, at_us=9, **WHO)

    assert (back.stage, back.champion, back.challenger, back.share) == (Stage.STEADY, "v1", None, 0.0)
    assert back.epoch == record.epoch + 1
    assert back.previous is None, "the version turned away must not come back by a second rollback"


def test_a_whole_rollout_ends_steady_with_its_predecessor_remembered() -> None:
    done = resolve(probation(), at_us=5, **WHO)

    assert (done.stage, done.champion, done.challenger, done.rollout_id) == (Stage.STEADY, "v2", None, "")
    assert done.previous is not None
    assert done.previous.champion == "v1"
    assert rollback(done, at_us=6, **WHO).champion == "v1"


def test_previous_carries_no_previous_of_its_own() -> None:
    second = begin_shadow(
        resolve(probation(), at_us=5, **WHO), challenger="v3", rollout_id="v3-e5", salt="t", at_us=6, **WHO
    )

    assert second.previous is not None
    assert second.previous.champion == "v2"
    assert second.previous.previous is None


def test_the_salt_stays_while_the_share_grows() -> None:
    wider = begin_canary(canary(0.05), share=0.25, at_us=4, **WHO)

    assert (wider.salt, wider.share, wider.rollout_id) == ("s", 0.25, "v2-e1")


@pytest.mark.parametrize(
    "step",
    [
        lambda: promote(shadow(), at_us=9, **WHO),
        lambda: promote(steady(), at_us=9, **WHO),
        lambda: resolve(canary(), at_us=9, **WHO),
        lambda: begin_canary(steady(), share=0.1, at_us=9, **WHO),
        lambda: begin_canary(probation(), share=0.1, at_us=9, **WHO),
        lambda: begin_canary(canary(0.25), share=0.05, at_us=9, **WHO),
        lambda: begin_shadow(shadow(), challenger="v3", rollout_id="x", salt="", at_us=9, **WHO),
        lambda: begin_shadow(steady(), challenger="v1", rollout_id="x", salt="", at_us=9, **WHO),
        lambda: rollback(steady(), at_us=9, **WHO),
    ],
)
def test_what_the_table_does_not_list_is_refused(step: object) -> None:
    assert callable(step)
    with pytest.raises(RejectedError):
        step()


def test_rollback_is_one_step_from_every_stage() -> None:
    assert set(TRANSITIONS) == set(Stage)
    assert all(Stage.STEADY in following for following in TRANSITIONS.values())
