"""The rollout record: which version answers whom. Serving reads it; rolling back is writing the previous one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

__all__ = ["RolloutChange", "RolloutRecord", "Stage"]


class Stage(StrEnum):
    """Where a rollout stands; legal transitions are one table in headrace.rollout_records."""

    STEADY = "steady"
    """The champion answers everything."""
    SHADOW = "shadow"
    """The challenger scores everything and answers nothing."""
    CANARY = "canary"
    """The challenger answers its share of units."""
    PROBATION = "probation"
    """The promoted version answers everything, its predecessor stays loaded and scores along."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """The one record per model. A record replaces another only with a larger epoch."""

    model: str
    epoch: int
    stage: Stage
    champion: str
    """Version that answers by default."""
    challenger: str | None = None
    """Version on trial (shadow, canary), or the warm predecessor (probation)."""
    share: float = 0.0
    """Share of routing units the challenger answers."""
    salt: str = ""
    """Salt of the routing hash, one per rollout, so that a unit in at 5 % stays in at 25 %."""
    rollout_id: str = ""
    """Ties record, workflow, evidence and audit together; empty when steady."""
    reason: str = ""
    """One sentence for people."""
    written_by: str = ""
    at_us: int = 0
    """Policy clock."""
    previous: "RolloutRecord | None" = None
    """The last record in which another version was known good; what a rollback writes back (its own previous cut)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutChange:
    """One line of the audit log: a record as it was written, and why."""

    record: RolloutRecord
    kind: str
    """``champion``, ``shadow``, ``canary``, ``promote``, ``rollback``, ``resolve``, ``override``."""
    evidence: dict[str, Any]
    """Counters, e-values and limits the decision rests on. Temporal's converter refuses ``object``, hence ``Any``."""
    wall_us: int
    """Wall clock of the write."""
