"""What a table of cases is made of, and the one stream they all read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from feature_store.compute import Mode
from feature_store.online.view_rows import PRESENT
from feature_store.row_values import Value
from headrace import Bool, EventStream, FeatureView, Float64, Int64, String
from headrace.clock import parse_us
from headrace.spec.aggregations import Feature
from headrace.spec.windows import Closed
from tests.every_engine import Event

__all__ = ["EVENTS", "Ask", "Case", "e", "us"]

EVENTS = EventStream(
    "events",
    key="key",
    time="at",
    id="id",
    schema={
        "key": Int64,
        "x": Float64(resolution=0.001, nullable=True),
        "n": Int64(nullable=True),
        "text": String(nullable=True),
        "good": Bool(nullable=True),
    },
    lateness="60d",
)
_DAY = "2024-05-14"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question of a case."""

    at: str
    says: Mapping[str, Value]
    """Our values, of some or all features."""
    key: int = 1
    mode: Mode = "corrected"
    status: str = PRESENT
    """Of the online row."""
    peer: Mapping[str, Value] = field(default_factory=dict)
    """The peer's values where they are others."""
    peer_status: str = ""
    """The peer's word for the row where it is another."""
    why: str = ""
    """Why ours differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Events, features over them, and what they must be."""

    name: str
    source: str
    """Repository, file and snapshot of the peer; or the document the case comes from."""
    features: tuple[tuple[Feature, ...], ...]
    events: tuple[Event, ...]
    asks: tuple[Ask, ...]
    closed: Closed = "left"
    ttl: str | None = None

    @property
    def view(self) -> FeatureView:
        return FeatureView(
            "case", entity="key", source=EVENTS, features=list(self.features), closed=self.closed, ttl=self.ttl
        )


def us(text: str) -> int:
    """Microseconds of ``12:00:00.001`` (on the cases' own day) or ``2021-04-10 01:00``, UTC."""
    return parse_us(f"{text if '-' in text else f'{_DAY} {text}'}+00:00")


def e(at: str, id: int, *, key: int = 1, arrives: str | None = None, **fields: object) -> Event:
    """An event."""
    return Event(id=id, t=us(at), key=key, fields=fields, arrival=None if arrives is None else us(arrives))
