"""Arrow messages of one schema to columns, many messages at once.

Opening a stream and looking at a column cost the same for ten rows as for ten thousand. So messages that follow each
other and begin with the same schema are read as one stream, their batches one behind the other. Batches with
dictionaries are not: a dictionary is of its message.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from headrace.spec.types import FieldType
from streams.formats.arrow_columns import Made, Reader, all_null, reader_of
from streams.formats.arrow_framing import Framing
from streams.formats.message_check import Refused

__all__ = ["ArrowPart", "ArrowReader", "FramedMessage"]

_MOST_SCHEMAS = 100
"""Remembered at once."""


@dataclass(frozen=True, slots=True)
class FramedMessage:
    """A message whose parts are where they should be."""

    number: int
    """Its place among the messages."""
    data: bytes
    framing: Framing


@dataclass(frozen=True, slots=True, eq=False)
class ArrowPart:
    """Columns of some batches."""

    rows: list[tuple[int, int, int]]
    """(message, rows of the message before these, count) of each batch."""
    made: list[Made]
    """For every field, the time last."""


@dataclass(frozen=True, slots=True)
class _FieldReader:
    """What reads one field of a schema."""

    place: int | None
    """Its column; None when there is none, then the reader gets the table."""
    read: Reader


class ArrowReader:
    """Reads the declared columns.

    Args:
        schema: declared fields without the time.
        time: name of the time field; None when there is none.
    """

    def __init__(self, schema: Mapping[str, FieldType], time: str | None) -> None:
        self._schema = schema
        self._time = time
        self._fields = [*schema, *([time] if time is not None else [])]
        self._known: dict[bytes, list[_FieldReader]] = {}
        """Schema as it stands in messages -> what reads each field."""

    def read(self, messages: Sequence[FramedMessage]) -> list[ArrowPart]:
        """Columns of messages that begin with the same schema; one alone may have dictionaries.

        Raises:
            Refused: some of them cannot be read; in words that fit when it is one.
        """
        first = messages[0]
        head = first.framing.schema
        joined = [first.data[: first.framing.end]]
        joined += [message.data[len(head) : message.framing.end] for message in messages[1:]]
        try:
            with pa.ipc.open_stream(b"".join(joined)) as stream:
                readers = self._readers(head, stream.schema)
                batches = list(stream)
            rows = _rows(messages, batches)
            if first.framing.dictionaries:
                return [
                    ArrowPart([place], _made(readers, pa.Table.from_batches([batch])))
                    for place, batch in zip(rows, batches, strict=True)
                ]
            return [ArrowPart(rows, _made(readers, pa.Table.from_batches(batches)))] if batches else []
        except Refused:
            raise
        except Exception as error:  # whatever bytes make Arrow raise, they are the message's fault, not the stream's
            words = str(error).splitlines()[0][:200] if str(error) else repr(error)
            raise Refused("malformed_arrow", words) from error

    def _readers(self, head: bytes, given: Any) -> list[_FieldReader]:
        known = self._known.get(head)
        if known is None:
            known = [self._reader(name, given) for name in self._fields]
            if len(self._known) >= _MOST_SCHEMAS:
                self._known.clear()
            self._known[head] = known
        return known

    def _reader(self, name: str, given: Any) -> _FieldReader:
        kind = self._schema.get(name)
        places = given.get_all_field_indices(name)
        if not places and kind is not None and kind.nullable:
            return _FieldReader(None, partial(_missing, kind))
        if len(places) != 1:
            names = ", ".join(str(known)[:40] for known in given.names[:12]) or "none"
            what = "stands there twice" if places else "is missing"
            raise Refused("wrong_schema", f"column {name!r} {what}; the message has {names}")
        found = given.field(places[0]).type
        reader = reader_of(kind, found)
        if reader is None:
            if kind is None and pa.types.is_timestamp(found):
                raise Refused("no_time_zone", f"column {name!r} is {found}; give it the zone UTC")
            wanted = "a timestamp with a zone" if kind is None else type(kind).__name__
            raise Refused("wrong_schema", f"column {name!r} is {str(found)[:80]}; it must be {wanted}")
        return _FieldReader(places[0], reader)


def _rows(messages: Sequence[FramedMessage], batches: Sequence[Any]) -> list[tuple[int, int, int]]:
    if len(batches) != sum(message.framing.batches for message in messages):
        raise Refused("malformed_arrow", f"it holds {len(batches)} batches and says otherwise")
    counts = iter(batch.num_rows for batch in batches)
    rows = []
    for message in messages:
        before = 0
        for _ in range(message.framing.batches):
            count = next(counts)
            rows.append((message.number, before, count))
            before += count
        if before != message.framing.rows:
            raise Refused("malformed_arrow", f"it holds {before} rows and says {message.framing.rows}")
    return rows


def _made(fields: Sequence[_FieldReader], table: Any) -> list[Made]:
    made = []
    for field in fields:
        if field.place is None:
            made.append(field.read(table))
            continue
        column = table.column(field.place)
        # Before anything looks at what an offset or an index points to.
        column.validate(full=True)
        made.append(field.read(column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()))
    return made


def _missing(kind: FieldType, table: Any) -> Made:
    return all_null(kind, table.num_rows)
