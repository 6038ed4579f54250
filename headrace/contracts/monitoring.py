"""What monitors publish: one report per window, evidence on a rollout, incidents."""

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["ArmEvidence", "Cause", "Incident", "IncidentState", "RolloutEvidence", "Verdict", "WindowReport"]


class Cause(StrEnum):
    """Class of a finding. The first four are data incidents: they page and block retraining."""

    NULLS = "nulls"
    SCHEMA = "schema"
    VOLUME = "volume"
    FRESHNESS = "freshness"
    DRIFT = "drift"
    """Inputs are distributed otherwise than in training."""
    PREDICTION = "prediction"
    """Scores are distributed otherwise than at training."""
    CONCEPT = "concept"
    """The error stream changed its mean (River detector)."""
    QUALITY = "quality"
    """Quality on matured labels fell."""


DATA_CAUSES = frozenset({Cause.NULLS, Cause.SCHEMA, Cause.VOLUME, Cause.FRESHNESS})


class IncidentState(StrEnum):
    OK = "ok"
    SUSPECTED = "suspected"
    CONFIRMED = "confirmed"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a policy said about one statistic of one subject in one window."""

    cause: Cause
    subject: str
    """Feature, field or metric."""
    statistic: str
    value: float
    threshold: float
    alarming: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEvidence:
    """Sufficient statistics of one comparison, challenger against champion, analysed by routing unit."""

    units: int = 0
    """Distinct routing units (times windows) seen."""
    events: int = 0
    flagged_challenger: int = 0
    flagged_champion: int = 0
    flagged_only_challenger: int = 0
    flagged_only_champion: int = 0
    failures: int = 0
    """Scores of the challenger that were missing or not finite."""
    matured_units: int = 0
    """Units whose labels are all known."""
    matured_events: int = 0
    matured_positives: int = 0
    loss_sum: float = 0.0
    """Sum over matured units of (challenger loss - champion loss), each the unit's mean clipped log loss."""
    loss_sum_sq: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvidence:
    """Everything monitors know about one rollout at one instant; cumulative, so a lost one is no loss."""

    model: str
    rollout_id: str
    epoch: int
    stage: str
    at_us: int
    """Event time."""
    total: ArmEvidence
    """Since the rollout began: every event both versions scored."""
    stage_served: ArmEvidence
    """In the current stage: events the challenger answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowReport:
    """One monitoring window of one model."""

    model: str
    window: int
    """Number of the window since the monitor's state began; a redelivered report has the same."""
    from_us: int
    until_us: int
    """Event time."""
    rows: int
    version: str
    """Model version whose reference was compared with."""
    verdicts: tuple[Verdict, ...]
    quality: dict[str, float]
    """Realised metrics on labels matured in this window; empty without enough of them."""
    evidence: RolloutEvidence | None = None
    reference_path: str = ""
    current_path: str = ""
    """Parquet samples the confirming report is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident; many causes and features at once are one incident."""

    dedup_key: str
    """Hash of model and cause class, stable over its life; at most 255 characters."""
    model: str
    state: IncidentState
    kind: str
    """``data`` (blocks retraining) or ``model`` (requests it)."""
    causes: tuple[str, ...]
    subjects: tuple[str, ...]
    summary: str
    severity: str
    """``info``, ``warning`` or ``critical``."""
    opened_us: int
    updated_us: int
    """Event time."""
    report_url: str = ""
    """Evidently report, as a file path or address."""
    links: dict[str, str] = field(default_factory=dict)
