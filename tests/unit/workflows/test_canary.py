"""Guardrails of a canary, case by case; their error rates are simulated in tests/property."""

from dataclasses import replace

import pytest

from headrace.contracts.monitoring import ArmEvidence
from headrace.spec.policies import RolloutPolicy, Tripwires
from workflows.canary import MIN_POSITIVES, Finding, Guardrail, detectable, judge

POLICY = RolloutPolicy()
SAME = ArmEvidence(
    units=4000,
    events=8000,
    flagged_challenger=80,
    flagged_champion=80,
    flagged_only_challenger=10,
    flagged_only_champion=10,
    matured_units=4000,
    matured_events=8000,
    matured_positives=60,
    loss_sum=-4.0,
    loss_sum_sq=2.0,
)


def said(evidence: ArmEvidence, policy: RolloutPolicy = POLICY) -> dict[str, Guardrail]:
    return {guardrail.name: guardrail for guardrail in judge(evidence, policy)}


def findings(evidence: ArmEvidence) -> dict[str, Finding]:
    return {name: guardrail.finding for name, guardrail in said(evidence).items()}


def test_nothing_seen_decides_nothing() -> None:
    assert set(findings(ArmEvidence()).values()) == {Finding.UNDECIDED}


def test_two_alike_are_cleared_on_every_count() -> None:
    assert set(findings(SAME).values()) == {Finding.NO_HARM}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"flagged_challenger": 800, "flagged_only_challenger": 730}, "flags_up"),
        ({"flagged_challenger": 4, "flagged_only_challenger": 0, "flagged_only_champion": 76}, "flags_down"),
        ({"loss_sum": 40.0, "loss_sum_sq": 4.0}, "loss"),
        ({"failures": 3}, "failures"),
    ],
)
def test_each_guardrail_is_seen_to_block(change: dict[str, float], name: str) -> None:
    harmed = findings(replace(SAME, **change))

    assert [guardrail for guardrail, finding in harmed.items() if finding is Finding.HARM] == [name]


def test_a_challenger_that_flags_nothing_is_harm() -> None:
    mute = replace(SAME, flagged_challenger=0, flagged_only_challenger=0, flagged_only_champion=80)

    assert findings(mute)["flags_down"] is Finding.HARM
    assert said(mute)["flags_down"].estimate == 0.0


def test_a_silent_champion_is_no_measure_but_the_expected_share_is() -> None:
    """Drift has silenced the champion: a successor that flags as much as expected does no harm, a wild one does."""
    silent = replace(SAME, flagged_champion=0, flagged_only_champion=0)
    usual = replace(silent, flagged_challenger=80, flagged_only_challenger=80)
    wild = replace(silent, flagged_challenger=SAME.events // 4, flagged_only_challenger=SAME.events // 4)

    assert said(usual)["flags_up"].estimate is None
    assert findings(usual)["flags_up"] is not Finding.HARM
    assert findings(wild)["flags_up"] is Finding.HARM


def test_what_nobody_flags_is_not_too_much_and_may_be_too_little() -> None:
    silent = replace(SAME, flagged_challenger=0, flagged_champion=0, flagged_only_challenger=0, flagged_only_champion=0)

    assert findings(silent)["flags_up"] is Finding.NO_HARM
    assert findings(silent)["flags_down"] is Finding.UNDECIDED
    assert findings(silent)["flags_down"] is Finding.UNDECIDED


def test_flags_of_one_unit_count_as_one() -> None:
    """The same counts from a tenth of the units are a tenth of the evidence."""
    clustered = replace(SAME, flagged_challenger=400, flagged_only_challenger=330, units=800)
    spread = replace(clustered, units=8000)
    e_clustered, e_spread = said(clustered)["flags_up"].e_harm, said(spread)["flags_up"].e_harm

    assert e_clustered is not None
    assert e_spread is not None
    assert e_clustered < e_spread


@pytest.mark.parametrize(
    "few", [{"matured_units": POLICY.min_units - 1}, {"matured_positives": MIN_POSITIVES - 1}, {"matured_units": 0}]
)
def test_loss_is_not_judged_on_too_little(few: dict[str, int]) -> None:
    assert findings(replace(SAME, loss_sum=500.0, loss_sum_sq=80.0, **few))["loss"] is Finding.UNDECIDED


def test_failures_below_the_tripwire_are_no_harm() -> None:
    policy = RolloutPolicy(tripwires=Tripwires(max_exceptions=5))

    assert said(replace(SAME, failures=4), policy)["failures"].finding is Finding.NO_HARM
    assert said(replace(SAME, failures=5), policy)["failures"].finding is Finding.HARM


def test_evidence_is_finite_however_strong() -> None:
    endless = replace(SAME, units=10**9, events=10**9, flagged_challenger=10**8, flagged_only_challenger=10**8)

    assert said(endless)["flags_up"].e_harm is not None
    assert said(endless)["flags_up"].e_harm < float("inf")  # type: ignore[operator]  # checked above


def test_more_units_detect_smaller_harm() -> None:
    plans = [detectable(POLICY, units) for units in (1_000, 10_000, 100_000)]
    factors = [plan.flag_factor for plan in plans]
    losses = [plan.loss_increase for plan in plans]

    assert factors == sorted(factors, key=lambda factor: -(factor or 0))
    assert losses == sorted(losses, reverse=True)
    assert all(factor is not None and factor > POLICY.score_shift for factor in factors)
    assert all(loss > POLICY.loss_margin for loss in losses)


def test_a_plan_that_can_notice_nothing_says_so() -> None:
    assert detectable(POLICY, 3).flag_factor is None
