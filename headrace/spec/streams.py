"""Streams: what producers publish, and what becomes known about it later."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from headrace.clock import parse_us
from headrace.errors import DefinitionError
from headrace.spec.durations import parse_duration
from headrace.spec.formats import ArrowBatches, Avro, Format, Json
from headrace.spec.types import FieldType, Int64, String, as_field_type

__all__ = [
    "PLACE_ID",
    "UNVERSIONED",
    "UNVERSIONED_AS",
    "EventStream",
    "LabelStream",
    "LabelledStream",
    "check_name",
]

PLACE_ID = "_id"
"""Field of a stream without an id that tells its events apart: where each stands in Kafka (feature_store.ids)."""
_PLACE = Int64()
"""Its type, this very object: a stream that is made of another by dataclasses.replace has no id either."""

_RESERVED = frozenset(
    {
        "_arrival",
        "_earlier_labels",
        "_key",
        "_label_arrival",
        "_late",
        "_offset",
        "_partition",
        "_place",
        "_source",
        "_time",
    }
)
"""Columns that the logs have of their own."""

UNVERSIONED = "unversioned"
"""Marks a field that is no part of a definition's version: it changes no value of any feature."""
UNVERSIONED_AS = "unversioned as"
"""Marks a field that is none where it has this value: what was defined before there was the field keeps its version."""
_ROLES = {
    "key": "name the field producers partition by; any Int64 or String that a feature could be of will do",
    "time": "name the field of the event time; where producers have none, let them write when they send",
    "id": "name the field by which an event that comes twice is known; id=None where producers write none, and then"
    " what one sends twice is two events",
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
    """Field that identifies an event; a second event with the same id is a duplicate.

    None, where producers write none: every message is an event, known by its partition and offset as ``_id``.
    """
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
    has_id: bool = field(init=False, metadata={UNVERSIONED_AS: True})
    """Whether producers write the id."""
    lateness_us: int = field(init=False)
    future_us: int = field(init=False)
    earliest_us: int = field(init=False)

    if TYPE_CHECKING:  # as it is generated, but for the id: None is taken, and a field's name is given

        def __init__(
            self,
            name: str,
            key: str,
            time: str,
            id: str | None,
            schema: Mapping[str, FieldType | type[FieldType]],
            lateness: str = "6h",
            future: str = "1h",
            earliest: str = "1990-01-01T00:00:00Z",
            *,
            format: Format | type[Format] = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        check_name(self.name, what="event stream")
        is_made = self.id == PLACE_ID and isinstance(self.schema, Mapping) and self.schema.get(PLACE_ID) is _PLACE
        object.__setattr__(self, "has_id", self.id is not None and not is_made)
        object.__setattr__(self, "id", self.id if self.has_id else PLACE_ID)
        for role, named in (("key", self.key), ("time", self.time), ("id", self.id)):
            if not isinstance(named, str) or not named:
                raise DefinitionError(f"stream {self.name!r}: {role} is {named!r}", hint=_ROLES[role])
        if not isinstance(self.schema, Mapping) or not self.schema:
            raise DefinitionError(
                f"stream {self.name!r}: schema is {self.schema!r}",
                hint="give a mapping of field name to type",
            )
        given = {name: kind for name, kind in self.schema.items() if kind is not _PLACE}
        fields = {name: as_field_type(kind, field=f"{self.name}.{name}") for name, kind in given.items()}
        if not self.has_id and PLACE_ID in (*fields, self.time):
            raise DefinitionError(
                f"stream {self.name!r}: field {PLACE_ID!r} is what headrace makes of a stream without an id",
                hint=f"write id={PLACE_ID!r} if it tells events apart; else give it another name",
            )
        if self.has_id:
            fields.setdefault(self.id, Int64())
        reserved = _RESERVED | {PLACE_ID} - {self.id}
        taken = sorted(name for name in {*fields, self.time} if name.lower() in reserved)
        if taken:
            raise DefinitionError(
                f"stream {self.name!r}: field {taken[0]!r} has the name of a column of the logs",
                hint="let producers write it under another name",
            )
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
        for role in (self.key, self.id) if self.has_id else (self.key,):
            if not isinstance(fields[role], Int64 | String) or fields[role].nullable:
                raise DefinitionError(
                    f"stream {self.name!r}: field {role!r} is {fields[role]!r}",
                    hint="keys and ids are Int64 or String",
                )
        object.__setattr__(self, "format", _format(self.format, what=f"stream {self.name!r}"))
        if not self.has_id and isinstance(self.format, ArrowBatches):
            raise DefinitionError(
                f"stream {self.name!r}: id is None, and the rows of an Arrow message share its offset",
                hint="name an id that producers write, or let them write Json() or Avro(), a message for each event",
            )
        object.__setattr__(self, "schema", MappingProxyType(fields if self.has_id else {**fields, PLACE_ID: _PLACE}))
        object.__setattr__(self, "lateness_us", parse_duration(self.lateness, field=f"{self.name}.lateness"))
        object.__setattr__(self, "future_us", parse_duration(self.future, field=f"{self.name}.future"))
        try:
            object.__setattr__(self, "earliest_us", parse_us(self.earliest))
        except ValueError as error:
            raise DefinitionError(f"stream {self.name!r}: earliest is {self.earliest!r}: {error}") from error

    @property
    def published(self) -> Mapping[str, FieldType]:
        """Fields that producers write, the time left out: the schema, but for an id they write none of."""
        return MappingProxyType(dict(self.schema) if self.has_id else dict(self.visible))

    @property
    def visible(self) -> Mapping[str, FieldType]:
        """Fields that features may look at: those, but for an id called ``_id``."""
        return MappingProxyType({name: kind for name, kind in self.schema.items() if name != PLACE_ID})

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
        if not self.of.has_id:
            raise DefinitionError(
                f"label stream {self.name!r}: stream {self.of.name!r} has no id, by which a label or a prediction finds"
                " its event",
                hint="let producers write one, such as a random UUID made once for each event before it is first sent",
            )
        if not isinstance(self.value, str) or not self.value:
            raise DefinitionError(
                f"label stream {self.name!r}: value is {self.value!r}", hint="name the field of the outcome, 0 or 1"
            )
        object.__setattr__(self, "format", _format(self.format, what=f"label stream {self.name!r}"))
        if self.value in (*self.of.schema, self.of.time) or self.value.lower() in _RESERVED | {PLACE_ID}:
            raise DefinitionError(
                f"label stream {self.name!r}: value {self.value!r} is already a field of {self.of.name!r}"
                " or a column of the logs",
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
        return self._with_label(self.events.schema)

    @property
    def visible(self) -> Mapping[str, FieldType]:
        """Fields that features may look at, and the label."""
        return self._with_label(self.events.visible)

    def _with_label(self, fields: Mapping[str, FieldType]) -> Mapping[str, FieldType]:
        return MappingProxyType({**fields, self.labels.value: Int64(nullable=True)})
