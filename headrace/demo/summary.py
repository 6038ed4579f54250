"""What a run of the demo leaves behind, as values."""

from dataclasses import dataclass, field

from headrace.contracts.rollout import RolloutChange
from headrace.demo.promises import Promise

__all__ = ["Harm", "Moment", "Summary", "WeekQuality"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekQuality:
    """Average precision of one week of events, on labels that matured later."""

    week: int
    """Week of the data, 0 is the first."""
    events: int
    frauds: int
    frozen: float | None
    """The first model, never replaced."""
    champion: float | None
    """Whatever answered on each day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened, at a day of the data."""

    day: float
    kind: str
    """``champion``, ``incident``, ``rejected``, ``promote``, ``rollback``, ``resolved``."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """How a bad candidate was taken back."""

    version: str
    change: RolloutChange | None
    wall_s: float
    """From its first request to the record that turned it away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The whole run."""

    title: str
    days: int
    events: int
    wall_s: float
    weeks: tuple[WeekQuality, ...]
    moments: tuple[Moment, ...]
    promises: tuple[Promise, ...]
    facts: dict[str, str]
    """Label -> value, in reading order."""
    links: dict[str, str] = field(default_factory=dict)
