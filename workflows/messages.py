"""What workflows say to each other.

What others send in (signals, queries) stands in :mod:`headrace.contracts.control`; what goes to activities and back in
:mod:`workflows.activity_messages`. The same rules hold: new fields come with defaults and are never renamed.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.contracts.artifacts import EvaluationReport
from headrace.contracts.rollout import RolloutRecord
from headrace.spec.policies import RolloutPolicy

SIGNAL_PROGRESS = "progress"
"""From a rollout to its controller: RolloutProgress."""


class RetrainOutcome(StrEnum):
    ACCEPTED = "accepted"
    """Passed its gates and is registered."""
    REJECTED = "rejected"
    """Refused by a gate."""
    TOO_FEW_LABELS = "too_few_labels"
    """Nothing was trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainStart:
    """Argument of the Retrain workflow."""

    project: str
    model: str
    number: int
    at_us: int
    """Nothing that happened or became known later is used."""
    reason: str
    champion: str = ""
    """Version to beat; empty for the first model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainResult:
    """Result of the Retrain workflow."""

    outcome: RetrainOutcome
    reason: str
    version: str = ""
    """Registered version, when accepted."""
    report: EvaluationReport | None = None
    record: RolloutRecord | None = None
    """The first record, when a first model went straight into service."""
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutStart:
    """Argument of the Rollout workflow."""

    project: str
    model: str
    version: str
    rollout_id: str
    at_us: int
    window: int
    """Observation window in which it was decided."""
    reason: str
    by: str
    policy: RolloutPolicy
    override: bool = False
    """A person forced this version past the gates."""
    resume: bool = False
    """The record is already this rollout's; go on from it."""
    paused: bool = False


class RolloutOutcome(StrEnum):
    RESOLVED = "resolved"
    """Promoted and through its probation."""
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    """The rehearsal of the way back failed; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutResult:
    """Result of the Rollout workflow."""

    outcome: RolloutOutcome
    reason: str
    at_us: int
    record: RolloutRecord | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutProgress:
    """A rollout has acted upon everything up to ``window`` and waits for more."""

    rollout_id: str
    window: int
    record: RolloutRecord
    note: str
