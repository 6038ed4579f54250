"""One change of the rollout record, the way every workflow makes it: write, then tell Kafka and the registry."""

from dataclasses import dataclass

from headrace.contracts.rollout import RolloutRecord
from workflows.activity_calls import call_quick, try_quick
from workflows.activity_messages import (
    ALIGN_REGISTRY,
    ANNOUNCE_ROLLOUT,
    WRITE_ROLLOUT,
    RegistryAlignment,
    RolloutWrite,
    WriteOutcome,
)

__all__ = ["Changed", "align_registry", "change_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What became of a change."""

    written: bool
    """False when somebody else had written before."""
    record: RolloutRecord | None
    """In force now."""
    note: str = ""
    """What could not be done beside it; empty when all was."""


async def change_record(write: RolloutWrite) -> Changed:
    """Write, repeated until Redis answers; announcing and the registry are tried for a minute and never hold it up.

    Raises:
        ActivityError: the change is not allowed from the record in force.
    """
    summary = f"{write.kind}: {write.reason}"[:200]
    outcome: WriteOutcome = await call_quick(WRITE_ROLLOUT, write, WriteOutcome, summary=summary)
    if outcome.change is None:
        return Changed(written=False, record=outcome.record)
    note = ""
    if not await try_quick(ANNOUNCE_ROLLOUT, outcome.change, summary=write.kind):
        note = " (not announced; the record and its history are in Redis)"
    note += await align_registry(outcome.change.record)
    return Changed(written=True, record=outcome.change.record, note=note)


async def align_registry(record: RolloutRecord) -> str:
    """Let the registry's aliases follow the record; returns a note when that failed."""
    if await try_quick(ALIGN_REGISTRY, RegistryAlignment(model=record.model, record=record)):
        return ""
    return " (the registry's aliases could not be updated)"
