"""Avro messages to columns: by schema id, by program, checked as every other format."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from headrace.clock import Clock, SystemClock
from headrace.config import StreamSettings
from headrace.spec.types import Bool, FieldType, Float64, Int64, String
from streams.formats import avro_kernels as kernels
from streams.formats.avro_program import AvroProgram, compile_schema
from streams.formats.column_check import ColumnCheck
from streams.formats.decode import Decoded, Refusal
from streams.formats.message_check import USUAL_BOUNDS, beyond
from streams.messages.payloads import Payloads
from streams.schemas.avro_schema import SchemaRefusedError
from streams.schemas.schema_registry import SchemaRegistry, WriterSchema

__all__ = ["AvroDecoder"]

I64 = NDArray[np.int64]
_MOST_SCHEMAS = 1_000
"""Kept at once; ids are chosen by whoever writes to the topic."""
_UNKNOWN_FOR_US = 10_000_000
"""A schema that the registry did not have is not asked for again so long."""
_MOST_UNKNOWN = 10_000
"""Remembered at once."""
_WORDS = {
    kernels.CUT: "the record ends at byte {place}, in the middle of a value",
    kernels.BAD_NUMBER: "the number before byte {place} does not fit its type",
    kernels.BAD_LENGTH: "a length before byte {place} is negative",
    kernels.BAD_BRANCH: "the union before byte {place} has no such branch",
    kernels.BAD_BOOLEAN: "byte {place} is no truth value",
    kernels.BAD_SYMBOL: "the enum before byte {place} has no such symbol",
    kernels.SPENT: "too many steps at byte {place}",
    kernels.LEFT_OVER: "the record ends at byte {place}, the message does not",
}


class AvroDecoder:
    """Decodes the messages of one topic.

    Args:
        schema: declared fields without the time.
        registry: knows the writers' schemas.
        time: name of the time field; None when there is none.
        earliest_us: times before this are refused.
        future_us: times further than this ahead of the arrival are refused.
        values: integer field -> the only values it may have; others are refused as ``bad_label``.
        bounds: how large and how deep a message may be, and how many schemas a batch may ask for.
        clock: says when an unknown schema may be asked for again; the wall clock when absent.
    """

    malformed = "malformed_avro"

    def __init__(
        self,
        schema: Mapping[str, FieldType],
        registry: SchemaRegistry,
        *,
        time: str | None = None,
        earliest_us: int = 0,
        future_us: int = 0,
        values: Mapping[str, frozenset[int]] | None = None,
        bounds: StreamSettings = USUAL_BOUNDS,
        clock: Clock | None = None,
    ) -> None:
        self._schema = dict(schema)
        self._time = time
        self._registry = registry
        self._bounds, self._clock = bounds, clock or SystemClock()
        self._check = ColumnCheck(self._schema, time, earliest_us, future_us, values)
        self._programs: dict[int, AvroProgram | tuple[str, str]] = {}
        """Schema id -> program, or the reason and detail of the refusal of all its messages."""
        self._unknown: dict[int, int] = {}
        """Id the registry did not have -> when it said so."""
        self._lookups = 0
        """Of this batch."""
        self._stack = np.zeros(bounds.max_depth, dtype=np.int64)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*self._schema, *([self._time] if self._time is not None else []))

    def decode(self, messages: Payloads, arrivals_us: I64) -> Decoded:
        """Columns of what is right, and a refusal for each message that is not.

        Args:
            messages: values of one batch.
            arrivals_us: (n,) when each arrived.

        Raises:
            UnavailableError: a schema is not known yet and the registry does not answer.
        """
        fields, n = len(self.fields), len(messages)
        cells, reals = np.empty((fields, n), dtype=np.int64), np.empty((fields, n), dtype=np.float64)
        spans, flags = np.empty((fields, n), dtype=np.int32), np.zeros((fields, n), dtype=np.uint8)
        states, places = np.full(n, kernels.CUT, dtype=np.uint8), np.zeros(n, dtype=np.int64)
        ids = np.empty(n, dtype=np.int64)
        kernels.read_ids(messages.buffer, messages.bounds, ids)
        large = messages.sizes > self._bounds.max_message_bytes
        refused = self._too_large(messages, np.flatnonzero(large))
        ids[large] = -2
        self._lookups = 0
        for schema_id, rows in _by_id(ids):
            program = self._program(schema_id) if schema_id >= -1 else None
            if isinstance(program, AvroProgram):
                kernels.read_records(
                    messages.buffer,
                    messages.bounds,
                    rows,
                    program.code,
                    self._stack,
                    cells,
                    reals,
                    spans,
                    flags,
                    states,
                    places,
                )
                bad = rows[states[rows] != kernels.FINE].tolist()
                refused += [self._unread(row, int(states[row]), int(places[row]), schema_id, program) for row in bad]
            elif program is not None:
                refused += [Refusal(row=row, reason=program[0], detail=program[1]) for row in rows.tolist()]
        ok = states == kernels.FINE
        columns, nulls, sizes = self._columns(cells, reals, spans, flags)
        found = self._check.refuse(columns, nulls, sizes, arrivals_us, ok)
        refused += [Refusal(row=row, reason=reason, detail=detail) for row, reason, detail in found]
        # Only these messages: they may be a part of a larger memory.
        first, last = int(messages.bounds[0]), int(messages.bounds[-1])
        joined = messages.buffer[first:last].tobytes() if sizes else b""
        for name in sizes:
            f = self.fields.index(name)
            columns[name], wrong = _texts(joined, cells[f] - first, spans[f], flags[f], ok)
            refused += [
                Refusal(row=row, reason="malformed_avro", detail=f"field {name!r} is not UTF-8") for row in wrong
            ]
        nulls = {name: nulls[name] for name, kind in self._schema.items() if kind.nullable}
        accepted = np.flatnonzero(ok)
        if len(accepted) < n:
            columns = {name: column[accepted] for name, column in columns.items()}
            nulls = {name: mask[accepted] for name, mask in nulls.items()}
        return Decoded(rows=accepted, columns=columns, nulls=nulls, refused=refused)

    def _program(self, schema_id: int) -> AvroProgram | tuple[str, str]:
        if schema_id < 0:
            return "malformed_avro", "the message does not begin with a zero byte and the four bytes of a schema id"
        known = self._programs.get(schema_id)
        if known is not None:
            return known
        # An id may be registered any time, so this is remembered for a moment only; a clock that went back ends it.
        now_us = self._clock.now_us()
        if 0 <= now_us - self._unknown.get(schema_id, -_UNKNOWN_FOR_US) < _UNKNOWN_FOR_US:
            return "unknown_schema", f"the schema registry had no schema {schema_id} a moment ago"
        most = self._bounds.max_schema_lookups
        if self._lookups >= most:
            detail = f"schema {schema_id} was not asked for: {most} others of this batch were"
            return "unknown_schema", f"{detail}, which is stream.max_schema_lookups"
        found = self._registry.schema(schema_id)
        self._lookups += 1
        if found is None:
            self._unknown.pop(schema_id, None)
            if len(self._unknown) >= _MOST_UNKNOWN:
                del self._unknown[next(iter(self._unknown))]  # the oldest
            self._unknown[schema_id] = now_us
            return "unknown_schema", f"the schema registry has no schema {schema_id}"
        self._unknown.pop(schema_id, None)
        if len(self._programs) >= _MOST_SCHEMAS:
            self._programs.clear()
        made = self._programs[schema_id] = self._compile(schema_id, found)
        return made

    def _compile(self, schema_id: int, found: WriterSchema) -> AvroProgram | tuple[str, str]:
        if found.kind != "AVRO":
            return "wrong_schema", f"schema {schema_id} is {found.kind}, not AVRO"
        try:
            return compile_schema(found.text, found.references, self._schema, self._time)
        except SchemaRefusedError as error:
            return "wrong_schema", f"schema {schema_id}: {error}"
        except RecursionError:  # types that name each other in a long row are not nested in the text
            return "wrong_schema", f"schema {schema_id}: its types hold each other too deep"

    def _unread(self, row: int, state: int, place: int, schema_id: int, program: AvroProgram) -> Refusal:
        if state == kernels.WRONG_BRANCH:
            return Refusal(row=row, reason="wrong_type", detail=f"schema {schema_id}: {program.words[place]}")
        if state == kernels.TOO_MANY_DIGITS:
            detail = f"field {self.fields[place]!r} has more digits than a double holds exactly"
            return Refusal(row=row, reason="out_of_range", detail=detail)
        if state == kernels.TOO_DEEP:
            deeper = f"schema {schema_id}: nested deeper at byte {place}"
            return Refusal(row=row, reason="too_large", detail=beyond(deeper, "max_depth", self._bounds.max_depth))
        return Refusal(
            row=row, reason="malformed_avro", detail=f"schema {schema_id}: {_WORDS[state].format(place=place)}"
        )

    def _too_large(self, messages: Payloads, rows: I64) -> list[Refusal]:
        sizes, most = messages.sizes[rows].tolist(), self._bounds.max_message_bytes
        return [
            Refusal(row=row, reason="too_large", detail=beyond(f"{size} bytes", "max_message_bytes", most))
            for row, size in zip(rows.tolist(), sizes, strict=True)
        ]

    def _columns(
        self, cells: I64, reals: NDArray[np.float64], spans: NDArray[np.int32], flags: NDArray[np.uint8]
    ) -> tuple[dict[str, NDArray[np.generic]], dict[str, NDArray[np.bool_]], dict[str, NDArray[np.int32]]]:
        """Columns but for texts, where each is null, and sizes of texts; what was not read becomes 0."""
        columns: dict[str, NDArray[np.generic]] = {}
        nulls: dict[str, NDArray[np.bool_]] = {}
        sizes: dict[str, NDArray[np.int32]] = {}
        for f, name in enumerate(self.fields):
            kind = self._schema.get(name)
            null = flags[f] != kernels.PRESENT
            if null.any():
                cells[f][null], reals[f][null], spans[f][null] = 0, 0.0, 0
                nulls[name] = null
            elif kind is not None and kind.nullable:
                nulls[name] = null
            if isinstance(kind, Float64):
                with np.errstate(invalid="ignore"):  # + 0.0 turns the negative zero into the only zero there is
                    values = reals[f] + 0.0
                columns[name] = np.where(null, np.nan, values) if name in nulls else values
            elif isinstance(kind, String):
                sizes[name] = spans[f]
            elif isinstance(kind, Bool):
                columns[name] = cells[f].astype(np.bool_)
            else:
                assert kind is None or isinstance(kind, Int64), "four types and the time"
                columns[name] = cells[f]
        return columns, nulls, sizes


def _by_id(ids: I64) -> list[tuple[int, I64]]:
    """The schema ids there are, of which there is one nearly always, and their rows; the most frequent first."""
    if len(ids) and (ids == ids[0]).all():
        return [(int(ids[0]), np.arange(len(ids)))]
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    groups = zip(found.tolist(), np.split(order, starts[1:]), strict=True) if len(found) else ()
    return sorted(groups, key=lambda group: -len(group[1]))


def _texts(
    joined: bytes,
    starts: I64,
    spans: NDArray[np.int32],
    flags: NDArray[np.uint8],
    ok: NDArray[np.bool_],
) -> tuple[NDArray[np.object_], list[int]]:
    """Texts of the rows that are right so far, and rows whose text is none; ``ok`` becomes False there."""
    texts, wrong = np.full(len(ok), None, dtype=object), []
    for row in np.flatnonzero(ok & (flags == kernels.PRESENT)).tolist():
        start = int(starts[row])
        try:
            texts[row] = joined[start : start + int(spans[row])].decode()
        except UnicodeDecodeError:
            ok[row] = False
            wrong.append(row)
    return texts, wrong
