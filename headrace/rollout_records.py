"""From one rollout record to the next: every change of who answers, as a pure function.

    (none) ──► STEADY ──► SHADOW ──► CANARY ──► PROBATION ──► STEADY
                 ▲           │        │   ▲         │
                 └───────────┴────────┴───┼─────────┘   rollback, from everywhere
                                          └ a larger share

Each function takes the record in force and returns the one to write, with the next epoch; none of them writes.
Serving uses :func:`rollback` when a tripwire fires, the CLI when Temporal is away, workflows always.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.errors import RejectedError

__all__ = [
    "TRANSITIONS",
    "begin_canary",
    "begin_shadow",
    "first_champion",
    "promote",
    "resolve",
    "rollback",
]

TRANSITIONS: Mapping[Stage, frozenset[Stage]] = MappingProxyType(
    {
        Stage.STEADY: frozenset({Stage.SHADOW, Stage.STEADY}),
        Stage.SHADOW: frozenset({Stage.CANARY, Stage.STEADY}),
        Stage.CANARY: frozenset({Stage.CANARY, Stage.PROBATION, Stage.STEADY}),
        Stage.PROBATION: frozenset({Stage.STEADY}),
    }
)
"""The one table of legal transitions. STEADY is reachable from everywhere: that is rollback."""


def first_champion(model: str, version: str, *, reason: str, by: str, at_us: int) -> RolloutRecord:
    """The first record of a model: ``version`` answers everything."""
    return RolloutRecord(
        model=model, epoch=1, stage=Stage.STEADY, champion=version, reason=reason, written_by=by, at_us=at_us
    )


def begin_shadow(
    record: RolloutRecord, *, challenger: str, rollout_id: str, salt: str, reason: str, by: str, at_us: int
) -> RolloutRecord:
    """``challenger`` scores everything along with the champion and answers nothing.

    Raises:
        RejectedError: a rollout is in flight, or the challenger is the champion.
    """
    if challenger == record.champion:
        raise RejectedError(f"version {challenger} of model {record.model!r} is the champion already")
    return replace(
        _next(record, Stage.SHADOW, reason=reason, by=by, at_us=at_us),
        challenger=challenger,
        share=0.0,
        salt=salt,
        rollout_id=rollout_id,
        previous=replace(record, previous=None),
    )


def begin_canary(record: RolloutRecord, *, share: float, reason: str, by: str, at_us: int) -> RolloutRecord:
    """The challenger answers ``share`` of the routing units.

    Raises:
        RejectedError: not after shadow or a smaller canary.
    """
    if not record.share < share < 1:
        raise RejectedError(
            f"canary share {share} of model {record.model!r} is not between {record.share} and 1",
            hint="shares of RolloutPolicy.stages only grow; the last step is promotion",
        )
    return replace(_next(record, Stage.CANARY, reason=reason, by=by, at_us=at_us), share=share)


def promote(record: RolloutRecord, *, reason: str, by: str, at_us: int) -> RolloutRecord:
    """The challenger becomes champion; its predecessor stays loaded, and rollback armed.

    Raises:
        RejectedError: not from a canary.
    """
    challenger = _challenger(record)
    return replace(
        _next(record, Stage.PROBATION, reason=reason, by=by, at_us=at_us),
        champion=challenger,
        challenger=record.champion,
        share=0.0,
    )


def resolve(record: RolloutRecord, *, reason: str, by: str, at_us: int) -> RolloutRecord:
    """Probation is over: the promoted version is the only one loaded; ``previous`` still names its predecessor.

    Raises:
        RejectedError: not in probation.
    """
    if record.stage is not Stage.PROBATION:
        raise RejectedError(f"model {record.model!r} is in stage {record.stage}; only probation can be resolved")
    return _alone(_next(record, Stage.STEADY, reason=reason, by=by, at_us=at_us))


def rollback(record: RolloutRecord, *, reason: str, by: str, at_us: int) -> RolloutRecord:
    """What stood before, under a new epoch. The version turned away is in no later ``previous``.

    Raises:
        RejectedError: nothing stood before.
    """
    if record.previous is None:
        raise RejectedError(
            f"model {record.model!r} has no earlier version to go back to (champion {record.champion})",
            hint="roll out a registered version with `headrace rollout override --version`",
        )
    back = _next(record, Stage.STEADY, reason=reason, by=by, at_us=at_us)
    return replace(_alone(back), champion=record.previous.champion, previous=None)


def _alone(record: RolloutRecord) -> RolloutRecord:
    return replace(record, challenger=None, share=0.0, salt="", rollout_id="")


def _next(record: RolloutRecord, stage: Stage, *, reason: str, by: str, at_us: int) -> RolloutRecord:
    if stage not in TRANSITIONS[record.stage]:
        raise RejectedError(
            f"model {record.model!r} cannot go from {record.stage} to {stage} (epoch {record.epoch})",
            hint=f"from {record.stage} it can go to {', '.join(sorted(TRANSITIONS[record.stage]))}",
        )
    return replace(record, epoch=record.epoch + 1, stage=stage, reason=reason, written_by=by, at_us=at_us)


def _challenger(record: RolloutRecord) -> str:
    if record.challenger is None:
        raise RejectedError(f"model {record.model!r} has no challenger in stage {record.stage}")
    return record.challenger
