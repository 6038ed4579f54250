"""Durations: written like ``"7d"`` or ``"1h30m"``, kept as integer microseconds."""

import re
from datetime import timedelta

from headrace.errors import DefinitionError

__all__ = ["format_duration", "parse_duration"]

_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_PART = re.compile(r"(\d+)(us|ms|s|m|h|d)")


def parse_duration(value: str | timedelta, *, field: str) -> int:
    """Microseconds of a duration.

    >>> parse_duration("7d", field="window")
    604800000000
    >>> parse_duration("1h30m", field="window")
    5400000000

    Raises:
        DefinitionError: not a duration; names ``field`` and the value.
    """
    if isinstance(value, timedelta):
        return (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    hint = "write a whole number and a unit, such as '30m', '6h' or '7d'"
    if not isinstance(value, str) or not value:
        raise DefinitionError(f"{field} is {value!r}, not a duration", hint=hint)
    total, end = 0, 0
    for part in _PART.finditer(value):
        if part.start() != end:
            break
        total += int(part[1]) * _UNITS_US[part[2]]
        end = part.end()
    if end != len(value):
        raise DefinitionError(f"{field} is {value!r}, not a duration", hint=hint)
    return total


def format_duration(duration_us: int) -> str:
    """Shortest exact form, used in derived feature names.

    >>> format_duration(604_800_000_000), format_duration(5_400_000_000)
    ('7d', '1h30m')
    """
    if duration_us == 0:
        return "0s"
    text, left = "", duration_us
    for unit in ("d", "h", "m", "s", "ms", "us"):
        amount, left = divmod(left, _UNITS_US[unit])
        text += f"{amount}{unit}" if amount else ""
    return text
