"""When an outcome is joined to its event: once its delay has passed, and it has been told, by the time of knowledge.

  event          + delay         told           as_of
────●───────────────┼───────────────┼──────────────┼────►      joined: all three lie before as_of
"""

from dataclasses import dataclass

from feature_store.compute import Mode

__all__ = ["ROWS", "LabelRow"]

_NOTES = "our notes on the peers, table of edge cases, row 15"
_CHRONON = "airbnb/chronon: LabelJoinTest.scala and LabelPart (5edd4fc9)"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRow:
    """One event with an outcome."""

    source: str
    event: str
    told: str
    """When its outcome arrived."""
    as_of: str
    joined: bool
    delay: str = "20m"
    mode: Mode = "as_served"
    peer: bool | None = None
    """The peer's verdict where it is another."""
    why: str = ""


ROWS = (
    LabelRow(source=_NOTES, event="12:00", told="12:30", as_of="12:40", joined=True),
    LabelRow(source=_NOTES, event="12:00", told="12:30", as_of="12:30", joined=True),
    LabelRow(source=_NOTES, event="12:00", told="12:30", as_of="12:29:59.999999", joined=False),
    LabelRow(
        source=_NOTES,
        event="12:00",
        told="12:30",
        as_of="12:29:59.999999",
        mode="corrected",
        joined=True,
        peer=False,
        why="corrected counts an outcome from its delay on, whenever it was told",
    ),
    LabelRow(source=_NOTES, event="12:15", told="12:30", as_of="12:34:59.999999", joined=False),
    LabelRow(source=_NOTES, event="12:15", told="12:30", as_of="12:34:59.999999", mode="corrected", joined=False),
    LabelRow(
        source=_NOTES,
        event="12:15",
        told="12:30",
        as_of="12:40",
        joined=True,
        peer=False,
        why="an outcome belongs to an event by id, not by when it came; told early, it waits for its delay",
    ),
    LabelRow(
        source=_CHRONON,
        event="2024-05-07 12:00",
        told="2024-05-14 08:00",
        as_of="2024-05-14 11:59:59.999999",
        delay="7d",
        joined=False,
        peer=True,
        why="a delay is exact; there it is a number of days, and the outcome of a day joins that day's rows whole",
    ),
    LabelRow(
        source=_CHRONON,
        event="2024-05-07 12:00",
        told="2024-05-14 08:00",
        as_of="2024-05-14 12:00",
        delay="7d",
        joined=True,
    ),
)
