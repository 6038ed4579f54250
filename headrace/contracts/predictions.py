"""The prediction log: what was asked, what was known, what was answered."""

from dataclasses import dataclass

__all__ = ["PredictionRecord"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRecord:
    """One prediction. With ``features`` it can be recomputed offline; with ``scores`` arms can be compared."""

    model: str
    prediction_id: str
    """``<event id>/<source>``: a repeated request for the same event is the same prediction."""
    event_id: str
    event_us: int
    """Instant the features are as of."""
    unit: str
    """Routing unit."""
    entities: dict[str, str]
    """Entity name -> key."""
    event: dict[str, object]
    """The request's own event fields."""
    features: dict[str, float | None]
    """Inputs as used, by full name."""
    views: dict[str, dict[str, object]]
    """View -> ``status``, ``version`` (of the row read), ``watermark_us``, ``own_event`` (applied or merged)."""
    served_version: str
    score: float | None
    """None when the fallback answered."""
    flagged: bool
    scores: dict[str, float | None]
    """Version -> score, for every version that scored (the arm on trial scores along); None where it failed."""
    latency_us: dict[str, int]
    """Version -> microseconds in the model."""
    fallback: str
    """Why the fallback answered; empty when the model did."""
    epoch: int
    stage: str
    source: str
    """``http`` or ``stream``."""
    at_us: int
    """Wall clock."""
