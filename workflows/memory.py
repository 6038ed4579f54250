"""What a controller remembers, and how each event changes it: pure, and small enough to carry into a new run."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from headrace.contracts.control import ControllerStart, Observation, OperatorCommand
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.spec.policies import RetrainPolicy
from workflows.decisions import Situation, rest_us
from workflows.messages import RetrainOutcome, RetrainResult, RolloutOutcome, RolloutProgress, RolloutResult

__all__ = [
    "Candidate",
    "ControllerMemory",
    "ControllerRun",
    "commanded",
    "is_news",
    "noticed",
    "record_read",
    "retrain_ended",
    "retrain_failed",
    "retrain_started",
    "rollout_ended",
    "rollout_moved",
    "rollout_started",
    "situation",
    "told",
]

_SENTENCES = 20
"""Length of the history a query answers with; Temporal and the audit log keep all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version that passed its gates and waits for a person."""

    version: str
    reason: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerMemory:
    """Everything a controller knows. Instants are event time."""

    window: int = -1
    settled_window: int = -1
    at_us: int = 0
    """Newest event time anybody told of."""
    seen_us: int = 0
    """Event time of the newest observation; a person's command may be ahead of it."""
    first_us: int = 0
    """Event time of the first observation."""
    blocked: bool = False
    """A data incident is open."""
    causes: tuple[str, ...] = ()
    """Confirmed by monitors, not yet acted upon."""
    manual: str = ""
    """Who asked for a retraining and why."""
    record: RolloutRecord | None = None
    """Newest known record."""
    champion_since_us: int = 0
    candidate: Candidate | None = None
    cool_until_us: int = 0
    refusals: int = 0
    """Candidates refused in a row, by a gate or by traffic."""
    retrains: int = 0
    rejected: int = 0
    rollouts: int = 0
    rollbacks: int = 0
    promotions: int = 0
    history: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    """Title -> address of the newest run's pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerRun(ControllerStart):
    """Argument of one run of the controller: what senders give, and what the run before remembered."""

    memory: ControllerMemory | None = None


def is_news(memory: ControllerMemory, observation: Observation) -> bool:
    """Whether event time moves on: not for a redelivered window, but for one of a monitor that counts from 0 again."""
    return observation.at_us > memory.seen_us or (
        observation.at_us == memory.seen_us and observation.window > memory.window
    )


def noticed(memory: ControllerMemory, observation: Observation) -> ControllerMemory:
    """Fold in what monitors saw: causes add up until a run serves them or the incident is over."""
    causes: tuple[str, ...] = ()
    if observation.requests_retrain:
        causes = tuple(dict.fromkeys((*memory.causes, *(observation.causes or ("model incident",)))))
    return replace(
        memory,
        window=observation.window,
        at_us=max(memory.at_us, observation.at_us),
        seen_us=observation.at_us,
        first_us=memory.first_us or observation.at_us,
        blocked=observation.blocks_retrain,
        causes=causes,
    )


def commanded(memory: ControllerMemory, command: OperatorCommand, *, wall_us: int) -> ControllerMemory:
    """A command may know a later event time; before any is known, the wall clock is as good as it gets."""
    return replace(memory, at_us=max(memory.at_us, command.at_us) or wall_us)


def record_read(memory: ControllerMemory, record: RolloutRecord | None) -> ControllerMemory:
    """The record in force, as found in the store."""
    if record is None:
        return replace(memory, record=None)
    known = memory.record.champion if memory.record is not None else ""
    since_us = memory.champion_since_us if known == record.champion else record.at_us
    return replace(memory, record=record, champion_since_us=since_us)


def situation(memory: ControllerMemory, *, busy: bool, label_delay_us: int) -> Situation:
    """What the decision to retrain looks at."""
    return Situation(
        now_us=memory.at_us,
        busy=busy,
        blocked=memory.blocked,
        cool_until_us=memory.cool_until_us,
        champion=memory.record.champion if memory.record is not None else "",
        champion_since_us=memory.champion_since_us,
        causes=memory.causes,
        manual=memory.manual,
        first_us=memory.first_us,
        label_delay_us=label_delay_us,
    )


def retrain_started(memory: ControllerMemory, reason: str) -> ControllerMemory:
    """The causes are served; what comes in from now on counts for the next run."""
    memory = replace(memory, retrains=memory.retrains + 1, causes=(), manual="")
    return told(memory, f"retraining {memory.retrains} began: {reason}")


def retrain_ended(memory: ControllerMemory, result: RetrainResult, policy: RetrainPolicy) -> ControllerMemory:
    """Rest, longer after a refusal. Without a champion nothing is lost by trying again at the usual pace."""
    memory = told(memory, f"retraining {memory.retrains}: {result.outcome}, {result.reason}")
    if result.outcome is RetrainOutcome.REJECTED:
        refusals = memory.refusals + 1 if memory.record is not None else 0
        memory = replace(memory, rejected=memory.rejected + 1, refusals=refusals)
    if result.record is not None:
        memory = record_read(memory, result.record)
    return _rest(replace(memory, links={**memory.links, **result.links}), policy)


def retrain_failed(memory: ControllerMemory, why: str, policy: RetrainPolicy) -> ControllerMemory:
    """The run broke; neither accepted nor refused."""
    return _rest(told(memory, f"retraining {memory.retrains} failed: {why}"), policy)


def rollout_started(memory: ControllerMemory, version: str, reason: str) -> ControllerMemory:
    memory = replace(memory, rollouts=memory.rollouts + 1, candidate=None)
    return told(memory, f"rollout of {version} began: {reason}")


def rollout_moved(memory: ControllerMemory, progress: RolloutProgress) -> ControllerMemory:
    """Promotion ends the causes: they were about the old champion."""
    before, now = memory.record, progress.record
    if before is not None and before.epoch == now.epoch:
        return memory
    memory = told(record_read(memory, now), f"{now.stage} {now.share:.0%}: {progress.note}")
    if now.stage is Stage.PROBATION:
        memory = replace(memory, promotions=memory.promotions + 1, causes=(), refusals=0)
    return memory


def rollout_ended(
    memory: ControllerMemory, result: RolloutResult, policy: RetrainPolicy, *, override: bool
) -> ControllerMemory:
    """Traffic's refusal counts like a gate's, unless a person had forced the version past the gates."""
    memory = replace(memory, at_us=max(memory.at_us, result.at_us))
    memory = told(memory, f"rollout {result.outcome}: {result.reason}")
    if result.record is not None:
        memory = record_read(memory, result.record)
    if result.outcome is RolloutOutcome.ROLLED_BACK:
        memory = replace(memory, rollbacks=memory.rollbacks + 1)
    if result.outcome is not RolloutOutcome.RESOLVED and not override:
        memory = replace(memory, refusals=memory.refusals + 1)
    return _rest(memory, policy)


def told(memory: ControllerMemory, sentence: str) -> ControllerMemory:
    """Add a sentence to the history."""
    moment = datetime.fromtimestamp(memory.at_us // 1_000_000, tz=UTC).strftime("%Y-%m-%d %H:%M")
    return replace(memory, history=(*memory.history, f"{moment} {sentence}")[-_SENTENCES:])


def _rest(memory: ControllerMemory, policy: RetrainPolicy) -> ControllerMemory:
    return replace(memory, cool_until_us=memory.at_us + rest_us(policy, memory.refusals))
