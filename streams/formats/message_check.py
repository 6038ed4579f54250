"""What is wrong with a message, in words: the slow path, and the definition of what the fast one accepts.

Checks go from the whole to the parts, and the first that fails is the reason: size, JSON, object, names, then each
field in declared order, time last.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NoReturn

from feature_store.json_depth import is_deeper
from headrace.clock import format_us
from headrace.config import StreamSettings
from headrace.spec.types import Bool, FieldType, Float64, Int64, String
from headrace.spec.whole_numbers import whole_number

__all__ = ["NULL_INT", "USUAL_BOUNDS", "Refused", "bad_label", "beyond", "check_message", "check_time_bounds"]

USUAL_BOUNDS = StreamSettings()
"""Where nobody set others."""
NULL_INT = -(2**63)
"""The one int64 that stands for null in the exact form, and is therefore no value."""
_MAX_STEPS = 2**53
_SHOWN = 80
"""Most characters of a producer's value that are repeated in a detail."""
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:(Z)|([+-])(\d\d):?(\d\d))?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A number JSON does not know or Python does not convert, kept until its field is known."""

    text: str
    reason: str


class Refused(Exception):  # a verdict on a message, not an error of ours
    """A message is refused; the reason is one of DEAD_LETTER_REASONS."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def check_message(
    value: bytes, schema: Mapping[str, FieldType], time: str | None, bounds: StreamSettings = USUAL_BOUNDS
) -> dict[str, Any]:
    """Values by field name, time as microseconds of any size; nullable fields may be absent.

    Args:
        value: the message.
        schema: fields and types without the time.
        time: name of the time field; None when the message has none.
        bounds: how large and how deep it may be.

    Raises:
        Refused: says why.
    """
    if len(value) > bounds.max_message_bytes:
        raise Refused("too_large", beyond(f"{len(value)} bytes", "max_message_bytes", bounds.max_message_bytes))
    found = _parse(value, bounds.max_depth)
    for name in found:
        if name not in schema and name != time:
            raise Refused("unknown_field", f"field {_shown(name)} is not declared")
    values: dict[str, Any] = {}
    for name, kind in schema.items():
        if name not in found and not kind.nullable:
            raise Refused("missing_field", f"field {name!r} is missing")
    if time is not None and time not in found:
        raise Refused("missing_field", f"field {time!r} is missing")
    for name, kind in schema.items():
        values[name] = _check_field(name, kind, found.get(name))
    if time is not None:
        values[time] = _check_time(time, found[time])
    return values


def beyond(given: str, setting: str, most: int) -> str:
    """Detail of a message beyond a bound.

    >>> beyond("70000 bytes", "max_message_bytes", 65_536)
    '70000 bytes; a message may have 65536, by stream.max_message_bytes'
    """
    return f"{given}; a message may have {most}, by stream.{setting}"


def bad_label(name: str, value: int, allowed: frozenset[int]) -> tuple[str, str]:
    """Reason and detail of an outcome that is none."""
    return "bad_label", f"field {name!r} is {value}; it may be {sorted(allowed)}"


def check_time_bounds(
    time_us: int, arrival_us: int, earliest_us: int, future_us: int, *, is_clamped: bool = False
) -> None:
    """Refuse a time before the stream's beginning or too far ahead of the arrival.

    Args:
        time_us: as the producer gave it, of any size.
        arrival_us: when it came.
        earliest_us: times before this are refused.
        future_us: times further than this ahead of the arrival are refused.
        is_clamped: the producer's was this far or further.

    Raises:
        Refused: says the time.
    """
    given = f"{_shown(time_us)} µs" + (" or further" if is_clamped else "")
    if time_us < earliest_us:
        raise Refused("before_earliest", f"{given} is before the stream's earliest, {format_us(earliest_us)}")
    if time_us > arrival_us + future_us:
        ahead = f"{_days(time_us - arrival_us)} ahead of its arrival"
        raise Refused("future", f"{given} is {ahead}; {_days(future_us)} are allowed")


def _days(length_us: int) -> str:
    return f"{Decimal(length_us) / 86_400_000_000:.4g} days"  # a Decimal, because a time may be larger than any float


def _parse(value: bytes, max_depth: int) -> dict[str, Any]:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("malformed_json", f"not UTF-8 at byte {error.start}") from error
    if is_deeper(value, max_depth):  # asked first, so that how deep Python recurses decides nothing
        raise Refused("too_large", beyond("nested deeper", "max_depth", max_depth))
    try:
        found = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_int, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise Refused("malformed_json", f"{error.msg} at character {error.pos}") from error
    if not isinstance(found, dict):
        raise Refused("not_an_object", f"the message is {_json_type(found)}, not an object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value] # add returns None, which is false
        raise Refused("malformed_json", f"field {_shown(twice)} stands there twice")
    return made


def _constant(text: str) -> _Unreadable:
    return _Unreadable(text, "not_finite")


def _int(text: str) -> int | _Unreadable:
    # int() of more than 4300 digits raises; 20 characters hold every int64.
    return int(text) if len(text) <= 400 else _Unreadable(text, "out_of_range")


def _float(text: str) -> float | _Unreadable:
    number = float(text)
    return number + 0.0 if math.isfinite(number) else _Unreadable(text, "out_of_range")


def _check_field(name: str, kind: FieldType, value: Any) -> Any:
    if value is None:
        return None if kind.nullable else _wrong_type(name, kind, value)
    if isinstance(value, _Unreadable):
        if isinstance(kind, Int64 | Float64):
            raise Refused(value.reason, f"field {name!r} is {_shown(value.text)}")
        return _wrong_type(name, kind, value.text)
    if isinstance(kind, Bool):
        return value if isinstance(value, bool) else _wrong_type(name, kind, value)
    if isinstance(kind, String):
        return _check_text(name, kind, value)
    if isinstance(kind, Int64) and isinstance(value, float):
        value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, int if isinstance(kind, Int64) else int | float):
        return _wrong_type(name, kind, value)
    if isinstance(kind, Int64):
        if not NULL_INT < value < 2**63:
            raise Refused("out_of_range", f"field {name!r} is {_shown(value)}; it must fit 64 bits")
        return value
    try:
        number = float(value) + 0.0
        inside = abs(round(number * kind.scale)) < _MAX_STEPS
    except OverflowError:
        inside = False
    if not inside:
        raise Refused(
            "out_of_range", f"field {name!r} is {_shown(value)}; it must stay below 2**53 steps of {kind.resolution:g}"
        )
    return number


def _check_text(name: str, kind: String, value: Any) -> str:
    if not isinstance(value, str):
        _wrong_type(name, kind, value)
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise Refused("malformed_json", f"field {name!r} holds half a surrogate pair") from error
    if size > kind.max_bytes:
        raise Refused("too_large", f"field {name!r} has {size} bytes; it may have {kind.max_bytes}")
    return str(value)


def _check_time(name: str, value: Any) -> int:
    if isinstance(value, float):
        value = whole_number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value  # of any size: what fits no column is refused by the bounds, with the value as it was given
    if not isinstance(value, str):
        raise Refused(
            "wrong_type",
            f"field {name!r} is {_json_type(value)}; write ISO 8601 with an offset, or whole microseconds",
        )
    match = _ISO.fullmatch(value)
    if match is None:
        raise Refused("bad_time", f"field {name!r} is {_shown(value)}; write it as 2018-04-01T00:00:31.000001Z")
    if match[8] is None and match[9] is None:
        raise Refused("no_time_zone", f"field {name!r} is {_shown(value)}; append 'Z' or an offset such as '+02:00'")
    try:
        shift = timedelta(hours=int(match[10] or 0), minutes=int(match[11] or 0))
        if int(match[11] or 0) > 59:
            raise ValueError("minutes of the offset")
        zone = timezone(-shift if match[9] == "-" else shift)
        # Without a zone, because subtracting an offset from year 1 or 9999 would leave datetime's range.
        naive = datetime(*(int(match[k]) for k in range(1, 7)), int((match[7] or "0").ljust(6, "0")), tzinfo=UTC)  # type: ignore[misc, arg-type] # six numbers
    except ValueError as error:
        raise Refused("bad_time", f"field {name!r} is {_shown(value)}: {error}") from error
    delta = naive - _EPOCH - (zone.utcoffset(None) or timedelta())
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _wrong_type(name: str, kind: FieldType, value: Any) -> NoReturn:
    raise Refused("wrong_type", f"field {name!r} is {_json_type(value)}; it must be {type(kind).__name__}")


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    if isinstance(value, int | float | _Unreadable):
        return f"the number {_shown(value.text if isinstance(value, _Unreadable) else value)}"
    return "an object" if isinstance(value, dict) else "an array"


def _shown(value: object) -> str:
    # A huge integer cannot be printed whole, and a huge text should not.
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return f"an integer of {value.bit_length()} bits"
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return repr(text) if isinstance(value, str) else text
