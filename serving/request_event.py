"""An event that comes with a request, under the very rules the stream applies to it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.clock import parse_us
from headrace.spec.streams import EventStream
from headrace.spec.types import Bool, FieldType, Float64, Int64, String
from headrace.spec.whole_numbers import whole_number
from serving.http.request_error import RequestError

__all__ = ["EventReader", "RequestEvent", "read_key"]

_INT64 = range(-(2**63) + 1, 2**63)  # the smallest int64 is the stream's null
_MAX_STEPS = 2**53
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:?[0-5]\d)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A checked event."""

    id: int | str
    time_us: int
    fields: Mapping[str, Any]
    """Every field of the schema, nulls included."""


class EventReader:
    """Reads the events of one stream out of decoded JSON."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._readers = tuple((name, _reader(kind), kind.nullable) for name, kind in stream.schema.items())
        self._known = {*stream.schema, stream.time}

    def read(self, value: object, *, now_us: int, where: str = "") -> RequestEvent:
        """Check one event.

        Args:
            value: decoded JSON.
            now_us: wall clock, for the bound on future times.
            where: prefix of field names in errors, such as ``events[3].``.

        Raises:
            RequestError: names the field and the rule it breaks.
        """
        if not isinstance(value, dict):
            raise RequestError(where.rstrip("."), f"an event is a JSON object, not {_kind(value)}")
        if not self._known.issuperset(value):
            name = next(name for name in value if name not in self._known)
            raise RequestError(
                f"{where}{name}", f"{self._stream.name!r} has no such field", hint=f"fields are {sorted(self._known)}"
            )
        fields: dict[str, Any] = {}
        for name, reader, nullable in self._readers:
            given = value.get(name)
            if given is None:
                if not nullable:
                    missing = "is null" if name in value else "is missing"
                    raise RequestError(f"{where}{name}", missing)
                fields[name] = None
                continue
            try:
                fields[name] = reader(given)
            except ValueError as error:
                raise RequestError(f"{where}{name}", str(error)) from None
        try:
            time_us = self._time_us(value.get(self._stream.time), now_us)
        except ValueError as error:
            raise RequestError(f"{where}{self._stream.time}", str(error)) from None
        return RequestEvent(fields[self._stream.id], time_us, fields)

    def _time_us(self, given: object, now_us: int) -> int:
        if isinstance(given, float):
            given = whole_number(given)
        if isinstance(given, str):
            if not _ISO.fullmatch(given):
                raise ValueError("is no time; write it as 2018-04-01T00:00:31.000001Z, or integer microseconds")
            time_us = parse_us(given)
        elif isinstance(given, int) and not isinstance(given, bool):
            time_us = given
        else:
            what = "is missing" if given is None else f"is {_kind(given)}"
            raise ValueError(f"{what}; give ISO 8601 with an offset, or integer microseconds")
        if time_us < self._stream.earliest_us:
            raise ValueError(f"{given!r} is before {self._stream.earliest}")
        if time_us > now_us + self._stream.future_us:
            raise ValueError(f"{given!r} is more than {self._stream.future} ahead of now")
        return time_us


def _reader(kind: FieldType) -> Callable[[Any], Any]:
    if isinstance(kind, Int64):
        return _read_int
    if isinstance(kind, Bool):
        return _read_bool
    if isinstance(kind, Float64):
        scale = kind.scale
        return lambda given: _read_float(given, scale)
    assert isinstance(kind, String)
    max_bytes = kind.max_bytes
    return lambda given: _read_text(given, max_bytes)


def _read_int(given: object) -> int:
    if type(given) is float:
        given = whole_number(given)
    if type(given) is not int:
        raise ValueError(f"is {_kind(given)}; give an integer")
    if given not in _INT64:
        raise ValueError("does not fit 64 bits")
    return given


def _read_bool(given: object) -> bool:
    if type(given) is not bool:
        raise ValueError(f"is {_kind(given)}; give true or false")
    return given


def _read_float(given: object, scale: int) -> float:
    if type(given) is not float and type(given) is not int:
        raise ValueError(f"is {_kind(given)}; give a number")
    try:
        number = float(given) + 0.0  # no minus zero
        inside = abs(round(number * scale)) < _MAX_STEPS
    except (OverflowError, ValueError):  # too large for a float; not a number
        inside = False
    if not inside:
        raise ValueError(f"is out of range; it must stay below 2**53 steps of 1/{scale}")
    return number


def _read_text(given: object, max_bytes: int) -> str:
    if type(given) is not str:
        raise ValueError(f"is {_kind(given)}; give a text")
    if len(given) > max_bytes or len(given.encode()) > max_bytes:
        raise ValueError(f"is longer than {max_bytes} bytes")
    return given


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a text",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def read_key(kind: Int64 | String, given: object, entity: str, row: int) -> int | str:
    """One entity key of a request.

    Raises:
        RequestError: of the wrong type or size; names the entity and the row.
    """
    try:
        return _read_int(given) if isinstance(kind, Int64) else _read_text(given, kind.max_bytes)
    except ValueError as error:
        raise RequestError(f"{entity}[{row}]", str(error)) from None
