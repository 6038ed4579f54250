"""The clock port: every duration of a policy is read on it.

Live it is the wall clock. In a replay it follows the stream's watermark, so 75 days of history run
through the very same code in minutes. Times are integer microseconds since the epoch, UTC.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock", "format_us", "parse_us"]

US_PER_SECOND = 1_000_000


class Clock(Protocol):
    """Anything that tells the current instant."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00:00Z."""


class SystemClock:
    """The wall clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1000


class ManualClock:
    """A clock that is moved by hand or by a watermark; it never goes back."""

    def __init__(self, now_us: int = 0) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def advance_to(self, now_us: int) -> None:
        """Move forward to ``now_us``; an earlier instant is ignored."""
        self._now_us = max(self._now_us, now_us)


def format_us(instant_us: int) -> str:
    """ISO 8601 in UTC.

    >>> format_us(1_522_540_800_000_000)
    '2018-04-01T00:00:00Z'
    """
    seconds, micros = divmod(instant_us, US_PER_SECOND)
    base = datetime.fromtimestamp(seconds, tz=UTC)
    text = base.replace(microsecond=micros).isoformat()
    return text.replace("+00:00", "Z")


def parse_us(text: str) -> int:
    """Read ISO 8601 with an explicit offset (``Z`` or ``+02:00``).

    >>> parse_us("2018-04-01T02:00:00+02:00")
    1522540800000000

    Raises:
        ValueError: the text is no timestamp, or carries no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"timestamp {text!r} has no time zone; append 'Z' or an offset such as '+02:00'"
        raise ValueError(msg)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * US_PER_SECOND + delta.microseconds
