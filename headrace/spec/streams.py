"""Streams: what producers publish, and what becomes known about it later."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headrace.clock import parse_us
from headrace.errors import DefinitionError
from headrace.spec.durations import parse_duration
from headrace.spec.formats import ArrowBatches, Avro, Format, Json
from headrace.spec.types import FieldType, Int64, String, as_field_type

__all__ = ["UNVERSIONED", "EventStream", "LabelStream", "LabelledStream", "check_name"]

UNVERSIONED = "unversioned"
"""Marks a field that is no part of a definition's version: it changes no value of any feature."""
_ROLES = {
    "key": "name the field producers partition by; any Int64 or String that a feature could be of will do",
    "time": "name the field of the event time; where producers have none, let them write when they send",
    "id": "a stream needs an id, by which an event that comes twice is known; a producer without one makes a random"
    " UUID for each event, once, before it first tries to send it",
}
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def check_name(name: object, *, what: str) -> str:
    """Return ``name`` when it can be a topic, a Feast view and a file name alike.

    Raises:
        DefinitionError: it cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or "__" in name:
        raise DefinitionError(
            f"{what} is called {name!r}",
            hint="use up to 64 of a-z, 0-9, '_' and '-', starting with a letter, without '__'",
        )
    return name


def _format(given: object, *, what: str) -> Format:
    made = given() if isinstance(given, type) else given
    if not isinstance(made, Json | Avro | ArrowBatches):
        raise DefinitionError(f"{what}: format is {given!r}", hint="use Json(), Avro() or ArrowBatches()")
    return made


@dataclass(frozen=True, slots=True)
class EventStream:
    """A topic of events."""

    name: str
    """Also the topic's name."""
    key: str
    """Field producers partition by."""
    time: str
    """Field of the event time."""
    id: str
    """Field that identifies an event; a second event with the same id is a duplicate."""
    schema: Mapping[str, FieldType]
    """Fields and their types; the time field is implied, the id is Int64 unless given here."""
    lateness: str = "6h"
    """How far behind its partition's newest event one may arrive and still be applied."""
    future: str = "1h"
    """How far an event time may lie ahead of the arrival; beyond it the event is refused."""
    earliest: str = "1990-01-01T00:00:00Z"
    """Event times before this are refused: they are unit mistakes."""
    format: Format = field(default_factory=Json, kw_only=True)
    """How producers write its messages: Json(), Avro() or ArrowBatches()."""
    lateness_us: int = field(init=False)
    future_us: int = field(init=False)
    earliest_us: int = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name, what="event stream")
        for role, given in (("key", self.key), ("time", self.time), ("id", self.id)):
            if not isinstance(given, str) or not given:
                raise DefinitionError(f"stream {self.name!r}: {role} is {given!r}", hint=_ROLES[role])
        if not isinstance(self.schema, Mapping) or not self.schema:
            raise DefinitionError(
                f"stream {self.name!r}: schema is {self.schema!r}",
                hint="give a mapping of field name to type",
            )
        fields = {name: as_field_type(kind, field=f"{self.name}.{name}") for name, kind in self.schema.items()}
        fields.setdefault(self.id, Int64())
        if self.time in fields:
            raise DefinitionError(
                f"stream {self.name!r}: time field {self.time!r} also stands in the schema",
                hint="leave it out; its type is implied",
            )
        if self.key not in fields:
            raise DefinitionError(
                f"stream {self.name!r}: key {self.key!r} is no field; fields are {sorted(fields)}",
                hint="name one of them as key",
            )
        for role in (self.key, self.id):
            if not isinstance(fields[role], Int64 | String) or fields[role].nullable:
                raise DefinitionError(
                    f"stream {self.name!r}: field {role!r} is {fields[role]!r}",
                    hint="keys and ids are Int64 or String",
                )
        object.__setattr__(self, "format", _format(self.format, what=f"stream {self.name!r}"))
        object.__setattr__(self, "schema", MappingProxyType(fields))
        object.__setattr__(self, "lateness_us", parse_duration(self.lateness, field=f"{self.name}.lateness"))
        object.__setattr__(self, "future_us", parse_duration(self.future, field=f"{self.name}.future"))
        try:
            object.__setattr__(self, "earliest_us", parse_us(self.earliest))
        except ValueError as error:
            raise DefinitionError(f"stream {self.name!r}: earliest is {self.earliest!r}: {error}") from error

    def with_label(self, labels: "LabelStream") -> "LabelledStream":
        """These events, each carrying its label once that is known."""
        return LabelledStream(events=self, labels=labels)

    def __hash__(self) -> int:
        return hash(("EventStream", self.name))


@dataclass(frozen=True, slots=True)
class LabelStream:
    """A topic of outcomes: the id of an event and what it turned out to be."""

    name: str
    """Also the topic's name."""
    of: EventStream
    """The stream whose events are labelled, matched by its id."""
    value: str
    """Field of the outcome: 0 or 1."""
    delay: str
    """Time from the event to the moment its label counts as known (label maturity)."""
    format: Format = field(default_factory=Json, kw_only=True, metadata={UNVERSIONED: True})
    """How its messages are written: Json(), Avro() or ArrowBatches()."""
    delay_us: int = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name, what="label stream")
        if not isinstance(self.of, EventStream):
            raise DefinitionError(f"label stream {self.name!r}: of is {self.of!r}", hint="give an EventStream")
        if not isinstance(self.value, str) or not self.value:
            raise DefinitionError(
                f"label stream {self.name!r}: value is {self.value!r}", hint="name the field of the outcome, 0 or 1"
            )
        object.__setattr__(self, "format", _format(self.format, what=f"label stream {self.name!r}"))
        if self.value in self.of.schema or self.value == self.of.time:
            raise DefinitionError(
                f"label stream {self.name!r}: value {self.value!r} is already a field of {self.of.name!r}",
                hint="an outcome has a name of its own",
            )
        object.__setattr__(self, "delay_us", parse_duration(self.delay, field=f"{self.name}.delay"))


@dataclass(frozen=True, slots=True)
class LabelledStream:
    """Events together with their labels; the source of a view that looks at outcomes."""

    events: EventStream
    labels: LabelStream

    def __post_init__(self) -> None:
        if not isinstance(self.labels, LabelStream) or self.labels.of is not self.events:
            raise DefinitionError(
                f"stream {self.events.name!r} is joined with {getattr(self.labels, 'name', self.labels)!r},"
                " which labels another stream",
                hint=f"give the LabelStream declared with of={self.events.name}",
            )

    @property
    def schema(self) -> Mapping[str, FieldType]:
        """Event fields and the label."""
        return MappingProxyType({**self.events.schema, self.labels.value: Int64(nullable=True)})
