"""What the stream says about itself."""

from dataclasses import dataclass

__all__ = ["DEAD_LETTER_REASONS", "ViewProgress"]

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
)
"""Values of the ``reason`` header of a dead letter."""


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
