"""What to do next, as pure functions: when to retrain, and how a rollout goes on.

Nothing here waits, writes or reads a clock; instants are event time and come as arguments.
The legal transitions of a rollout are one table, :data:`headrace.rollout_records.TRANSITIONS`.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum

from headrace.contracts.monitoring import ArmEvidence, RolloutEvidence
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.spec.durations import format_duration
from headrace.spec.policies import RetrainPolicy, RolloutPolicy
from workflows.canary import Finding, Guardrail, detectable, judge

__all__ = [
    "Action",
    "RetrainDecision",
    "Situation",
    "Step",
    "Wait",
    "decide_retrain",
    "next_step",
    "plan",
    "rest_us",
    "stage_length_us",
    "successor",
]


class Action(StrEnum):
    """Verdict on a rollout at one look."""

    PROMOTE = "promote"
    """On to the next stage."""
    HOLD = "hold"
    """The stage's time is not over."""
    EXTEND = "extend"
    """The time is over and the evidence is not enough; wait until the deadline."""
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A verdict with what it rests on."""

    action: Action
    stage: Stage
    """Stage to be in afterwards."""
    share: float
    """Share of units the challenger answers afterwards."""
    reason: str
    evidence: dict[str, object]
    """Counters, e-values and limits, as stored in the audit log."""


class Wait(StrEnum):
    """Why a retraining that is due does not start."""

    BUSY = "busy"
    BLOCKED = "blocked"
    COOLING = "cooling"
    NOTHING = "nothing"
    """None is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the decision to retrain looks at."""

    now_us: int
    busy: bool
    """A retraining, an approval or a rollout is in flight."""
    blocked: bool
    """A data incident is open."""
    cool_until_us: int
    champion: str
    """Empty before the first model."""
    champion_since_us: int
    causes: tuple[str, ...]
    """Confirmed by monitors and not yet acted upon."""
    manual: str
    """Who asked and why; empty when nobody did."""
    first_us: int
    """First event time the controller saw."""
    label_delay_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainDecision:
    start: bool
    reason: str
    waits_for: Wait = Wait.NOTHING


def decide_retrain(situation: Situation, policy: RetrainPolicy) -> RetrainDecision:
    """Retrain when monitors, the champion's age or a person ask for it, and nothing speaks against it.

    A person's request does not wait for the rest after the last run; it does wait for an open data incident,
    because training on broken data is what the incident is there to prevent.
    """
    reason = _cause(situation, policy)
    if not reason:
        return RetrainDecision(start=False, reason="")
    if situation.busy:
        return RetrainDecision(start=False, reason=reason, waits_for=Wait.BUSY)
    if situation.blocked:
        return RetrainDecision(start=False, reason=reason, waits_for=Wait.BLOCKED)
    if situation.now_us < situation.cool_until_us and not situation.manual:
        return RetrainDecision(start=False, reason=reason, waits_for=Wait.COOLING)
    return RetrainDecision(start=True, reason=reason)


def rest_us(policy: RetrainPolicy, refusals: int) -> int:
    """Rest after a finished run, longer after each candidate in a row that was refused.

    >>> [rest_us(RetrainPolicy(cooldown="3d", cooldown_max="14d"), n) // 86_400_000_000 for n in range(4)]
    [3, 6, 12, 14]
    """
    grown = policy.cooldown_us * policy.cooldown_growth ** min(refusals, 64)
    return int(min(grown, max(policy.cooldown_max_us, policy.cooldown_us)))


def next_step(
    record: RolloutRecord, evidence: RolloutEvidence | None, policy: RolloutPolicy, *, now_us: int, paused: bool = False
) -> Step:
    """Judge a rollout at one look.

    Harm always acts. Promotion needs the stage's time, its units, and evidence that excludes harm in flags; without
    data there is none. What could not be judged by the deadline is rolled back, paused or not.
    Loss is known days later: it acts when it shows harm, and ends probation when enough units have matured and the
    estimate is within the margin. Excluding the margin would take more units than most streams have in a probation;
    what could have been noticed is stated in :func:`plan`.

    Args:
        record: the record in force; its ``at_us`` is when the stage began.
        evidence: newest of monitors; that of another rollout counts as none.
        policy: lengths, margins and alpha.
        now_us: event time.
        paused: a person stopped promotion.
    """
    total, served = _own(record, evidence)
    guardrails = judge(total, policy)
    facts = _facts(record, total, served, guardrails, policy, now_us)
    harm = [guardrail for guardrail in guardrails if guardrail.finding is Finding.HARM]
    if harm:
        reason = f"harm in {record.stage}: " + "; ".join(guardrail.detail for guardrail in harm)
        return Step(action=Action.ROLLBACK, stage=Stage.STEADY, share=0.0, reason=reason, evidence=facts)
    lacking = _lacking(record, total, served, guardrails, policy)
    length_us, elapsed_us = stage_length_us(record.stage, policy), now_us - record.at_us
    if elapsed_us >= length_us and not lacking and not paused:
        stage, share = successor(record, policy)
        reason = f"{record.stage} held for {_days(elapsed_us)} over {_units(record, total, served)} units without harm"
        return Step(action=Action.PROMOTE, stage=stage, share=share, reason=reason, evidence=facts)
    if elapsed_us >= max(length_us, policy.deadline_us):
        why = "paused by a person" if paused and not lacking else lacking
        reason = f"{record.stage} could not be judged within {_days(elapsed_us)}: {why}"
        return Step(action=Action.ROLLBACK, stage=Stage.STEADY, share=0.0, reason=reason, evidence=facts)
    stay = Action.HOLD if elapsed_us < length_us or paused else Action.EXTEND
    reason = lacking if stay is Action.EXTEND else f"{_days(elapsed_us)} of {_days(length_us)}"
    return Step(action=stay, stage=record.stage, share=record.share, reason=reason, evidence=facts)


def successor(record: RolloutRecord, policy: RolloutPolicy) -> tuple[Stage, float]:
    """Stage and share that follow when all is well.

    A share that is none of the policy's (the policy changed meanwhile) goes to the next larger one.
    """
    if record.stage is Stage.PROBATION:
        return Stage.STEADY, 0.0
    larger = [share for share in policy.stages if share > record.share]
    return (Stage.CANARY, larger[0]) if larger else (Stage.PROBATION, 0.0)


def stage_length_us(stage: Stage, policy: RolloutPolicy) -> int:
    """Shortest time in a stage."""
    lengths = {Stage.SHADOW: policy.shadow_us, Stage.CANARY: policy.bake_us, Stage.PROBATION: policy.probation_us}
    return lengths.get(stage, 0)


def plan(policy: RolloutPolicy) -> dict[str, object]:
    """The plan of a rollout as stored with its first record: its stages, and what its tests can notice."""
    return {
        "stages": [f"shadow {policy.shadow}", *(f"{share:.0%} {policy.bake}" for share in policy.stages)],
        "probation": policy.probation,
        "deadline": policy.deadline,
        "alpha": policy.alpha,
        "detectable": {str(units): asdict(detectable(policy, units)) for units in (1_000, 10_000, 100_000)},
    }


def _cause(situation: Situation, policy: RetrainPolicy) -> str:
    if situation.manual:
        return situation.manual
    if not situation.champion:
        # As much matured history to train on as is kept back for the test.
        wait_us = situation.label_delay_us + 2 * policy.test_us
        return "first model" if situation.now_us - situation.first_us >= wait_us else ""
    if situation.causes:
        return ", ".join(situation.causes)
    age_us = situation.now_us - situation.champion_since_us
    return f"champion is {_days(age_us)} old" if age_us >= policy.max_age_us else ""


def _own(record: RolloutRecord, evidence: RolloutEvidence | None) -> tuple[ArmEvidence, ArmEvidence]:
    if evidence is None or evidence.rollout_id != record.rollout_id:
        return ArmEvidence(), ArmEvidence()
    return evidence.total, evidence.stage_served if evidence.epoch == record.epoch else ArmEvidence()


def _units(record: RolloutRecord, total: ArmEvidence, served: ArmEvidence) -> int:
    """Units the challenger was seen on: in shadow it answers nothing, so those it scored."""
    return total.units if record.stage is Stage.SHADOW else served.units


def _lacking(
    record: RolloutRecord,
    total: ArmEvidence,
    served: ArmEvidence,
    guardrails: tuple[Guardrail, ...],
    policy: RolloutPolicy,
) -> str:
    """What is missing for going on; empty when nothing is."""
    units = _units(record, total, served)
    if units < policy.min_units:
        return f"{units} of {policy.min_units} units seen"
    for guardrail in guardrails:
        if guardrail.name != "loss" and guardrail.finding is not Finding.NO_HARM:
            return f"{guardrail.name} is undecided: {guardrail.detail}"
    if record.stage is not Stage.PROBATION:
        return ""  # labels mature later; harm in them acts whenever it shows
    loss = next(guardrail for guardrail in guardrails if guardrail.name == "loss")
    if total.matured_units < policy.min_units:
        return f"{total.matured_units} of {policy.min_units} units have matured labels"
    if loss.finding is Finding.UNDECIDED and (loss.estimate is None or loss.estimate > loss.limit):
        return f"loss is undecided: {loss.detail}"
    return ""


def _facts(
    record: RolloutRecord,
    total: ArmEvidence,
    served: ArmEvidence,
    guardrails: tuple[Guardrail, ...],
    policy: RolloutPolicy,
    now_us: int,
) -> dict[str, object]:
    return {
        "judged_at_us": now_us,
        "judged_epoch": record.epoch,
        "judged_stage": str(record.stage),
        "total": asdict(total),
        "stage_served": asdict(served),
        "guardrails": [{**asdict(guardrail), "finding": str(guardrail.finding)} for guardrail in guardrails],
        "alpha": policy.alpha,
        "min_units": policy.min_units,
    }


def _days(duration_us: int) -> str:
    hours = round(duration_us / 3_600_000_000)
    return format_duration(hours * 3_600_000_000) if hours else format_duration(duration_us)
