"""Laws of a rollout's steps, over every stage and any evidence."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.monitoring import ArmEvidence, RolloutEvidence
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.rollout_records import TRANSITIONS, begin_canary, begin_shadow, first_champion, promote, rollback
from headrace.spec.policies import RolloutPolicy
from workflows.canary import Finding, judge
from workflows.decisions import Action, next_step, stage_length_us

DAY_US = 86_400_000_000
POLICY = RolloutPolicy()
WHO = {"reason": "", "by": ""}


def trials() -> list[RolloutRecord]:
    """A record in every stage of a rollout."""
    steady = first_champion("m", "v1", at_us=0, **WHO)
    shadow = begin_shadow(steady, challenger="v2", rollout_id="r", salt="r", at_us=0, **WHO)
    small = begin_canary(shadow, share=0.05, at_us=0, **WHO)
    large = begin_canary(small, share=0.25, at_us=0, **WHO)
    return [shadow, small, large, promote(large, at_us=0, **WHO)]


@st.composite
def arms(draw: st.DrawFn) -> ArmEvidence:
    """Counters that fit together."""
    units = draw(st.integers(0, 50_000))
    events = draw(st.integers(units, 3 * units))
    both = draw(st.integers(0, events // 4))
    only = [draw(st.integers(0, events // 4)) for _ in range(2)]
    matured = draw(st.integers(0, units))
    mean, deviation = draw(st.floats(-0.1, 0.1)), draw(st.floats(0, 0.2))
    return ArmEvidence(
        units=units,
        events=events,
        flagged_challenger=both + only[0],
        flagged_champion=both + only[1],
        flagged_only_challenger=only[0],
        flagged_only_champion=only[1],
        failures=draw(st.integers(0, 5)),
        matured_units=matured,
        matured_events=matured,
        matured_positives=draw(st.integers(0, matured)),
        loss_sum=matured * mean,
        loss_sum_sq=matured * (mean * mean + deviation * deviation),
    )


records = st.sampled_from(trials())
ages = st.integers(0, 40 * DAY_US)


def about(record: RolloutRecord, total: ArmEvidence, served: ArmEvidence) -> RolloutEvidence:
    return RolloutEvidence(
        model="m",
        rollout_id=record.rollout_id,
        epoch=record.epoch,
        stage=str(record.stage),
        at_us=0,
        total=total,
        stage_served=served,
    )


@given(records, arms(), arms(), ages, st.booleans())
def test_every_step_is_legal(
    record: RolloutRecord, total: ArmEvidence, served: ArmEvidence, age_us: int, paused: bool
) -> None:
    step = next_step(record, about(record, total, served), POLICY, now_us=age_us, paused=paused)

    if step.action in (Action.HOLD, Action.EXTEND):
        assert (step.stage, step.share) == (record.stage, record.share)
    else:
        assert step.stage in TRANSITIONS[record.stage]
    if step.stage is Stage.CANARY:
        assert record.share <= step.share < 1
    assert step.reason


@given(records, arms(), arms(), ages)
def test_harm_rolls_back_whatever_the_age(
    record: RolloutRecord, total: ArmEvidence, served: ArmEvidence, age_us: int
) -> None:
    harmed = any(guardrail.finding is Finding.HARM for guardrail in judge(total, POLICY))
    step = next_step(record, about(record, total, served), POLICY, now_us=age_us)

    if harmed:
        assert step.action is Action.ROLLBACK


@given(records, arms(), arms(), ages, st.booleans())
def test_nothing_is_promoted_early_or_on_too_few_samples(
    record: RolloutRecord, total: ArmEvidence, served: ArmEvidence, age_us: int, paused: bool
) -> None:
    step = next_step(record, about(record, total, served), POLICY, now_us=age_us, paused=paused)

    if step.action is Action.PROMOTE:
        assert not paused
        assert age_us >= stage_length_us(record.stage, POLICY)
        assert (total if record.stage is Stage.SHADOW else served).units >= POLICY.min_units
        if record.stage is Stage.PROBATION:
            assert total.matured_units >= POLICY.min_units


@given(records, arms(), ages)
def test_evidence_of_another_rollout_is_no_evidence(record: RolloutRecord, total: ArmEvidence, age_us: int) -> None:
    foreign = replace(about(record, total, total), rollout_id="another")

    assert next_step(record, foreign, POLICY, now_us=age_us).action is not Action.PROMOTE


@given(records, arms(), ages)
def test_what_an_earlier_stage_served_does_not_count(record: RolloutRecord, total: ArmEvidence, age_us: int) -> None:
    stale = replace(about(record, total, total), epoch=record.epoch - 1)
    step = next_step(record, stale, POLICY, now_us=age_us)

    if record.stage is not Stage.SHADOW:
        assert step.action is not Action.PROMOTE


@given(records, ages, st.booleans())
def test_no_data_never_promotes_and_ends_at_the_deadline(record: RolloutRecord, age_us: int, paused: bool) -> None:
    step = next_step(record, None, POLICY, now_us=age_us, paused=paused)
    due_us = max(POLICY.deadline_us, stage_length_us(record.stage, POLICY))

    assert step.action is not Action.PROMOTE
    assert (step.action is Action.ROLLBACK) == (age_us >= due_us)


@given(records, arms(), arms(), st.integers(20 * DAY_US, 40 * DAY_US), st.booleans())
def test_no_stage_outlives_its_deadline(
    record: RolloutRecord, total: ArmEvidence, served: ArmEvidence, age_us: int, paused: bool
) -> None:
    step = next_step(record, about(record, total, served), POLICY, now_us=age_us, paused=paused)

    assert step.action in (Action.PROMOTE, Action.ROLLBACK)


def test_rollback_is_reachable_from_every_state() -> None:
    """Walk the table: one step back from everywhere, and always to the champion of before."""
    for record in trials():
        assert Stage.STEADY in TRANSITIONS[record.stage]
        assert rollback(record, at_us=1, **WHO).champion == "v1"
