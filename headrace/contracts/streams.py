"""What the stream says about itself."""

from dataclasses import dataclass

__all__ = ["DEAD_LETTER_REASONS", "ERASED", "FLUSH_HEADER", "WATERMARK_HEADER", "SourceProgress", "ViewProgress"]

WATERMARK_HEADER = "headrace-watermark"
"""Header of a message with an empty value: its partition's event time is now at least this (microseconds, as text).

Heartbeats of quiet producers, and the end of a replayed chunk."""
FLUSH_HEADER = "headrace-flush"
"""Beside ``WATERMARK_HEADER``: make everything up to here durable in the offline log at once."""

DEAD_LETTER_REASONS = (
    "malformed_json",
    "not_an_object",
    "missing_field",
    "unknown_field",
    "wrong_type",
    "not_finite",
    "out_of_range",
    "too_large",
    "bad_time",
    "no_time_zone",
    "before_earliest",
    "future",
    "late",
    "bad_label",
    "malformed_avro",
    "malformed_arrow",
    "unknown_schema",
    "wrong_schema",
)
"""Values of the ``reason`` header of a dead letter."""

ERASED = "erased"
"""Counted among them, but no letter: a message of an erased subject goes nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewProgress:
    """How far one partition of a view is."""

    view: str
    partition: int
    keyed_offset: int
    """Last applied offset of the keyed topic."""
    watermark_us: int
    """Event time up to which rows are refreshed: the smallest watermark of the source partitions."""
    sources: dict[str, int]
    """``<topic>:<partition>`` -> last source offset applied."""
    rows: int
    """Events applied since the state began."""
    at_us: int
    """Wall clock of this report."""
    duplicates: int = 0
    """Events that had been applied before, since the state began."""
    too_late: int = 0
    """Events older than the view remembers, since the state began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProgress:
    """How far one partition of a source topic is."""

    topic: str
    partition: int
    offset: int
    """Offset after the last message that is durable: in the keyed logs and in the offline log."""
    newest_us: int
    """Newest event time; a label topic's newest arrival. Far in the past before the first."""
    rows: int
    """Events accepted, duplicates and late ones included, since the beginning."""
    dead_letters: dict[str, int]
    """Reason -> events refused since the beginning; a message that cannot be read counts as one."""
    at_us: int
    """Wall clock of this report."""
