"""Arrow messages to columns: each an IPC stream of many rows, none of it trusted.

message ─► framing (bounds, no compression) ─► schema (declared fields, once) ─► batches ─► validate ─► columns ─► check
    └── refused as a whole ◄──────┴────────────────────┴──────────────────────────┘                     └─► some rows
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.spec.types import FieldType, String
from streams.decode import Decoded, Refusal
from streams.formats.arrow_columns import DTYPES, Made, Reader, all_null, reader_of
from streams.formats.arrow_framing import FramingError, check_stream
from streams.formats.column_check import ColumnCheck
from streams.message_check import Refused
from streams.payloads import Payloads

__all__ = ["MOST_BYTES", "MOST_ROWS", "ArrowDecoder"]

I64 = NDArray[np.int64]
MOST_BYTES = 16_777_216
"""Of one message. Brokers take one megabyte unless told otherwise."""
MOST_ROWS = 65_536
"""Of one message."""
_MOST_SCHEMAS = 100
"""Remembered at once."""


@dataclass(frozen=True, slots=True)
class _FieldReader:
    """What reads one field of a schema."""

    place: int | None
    """Its column; None when there is none, then the reader gets the batch."""
    read: Reader


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Columns of one batch of one message."""

    message: int
    first: int
    """Rows of the message before this batch."""
    count: int
    made: list[Made]
    """For every field, the time last."""


class ArrowDecoder:
    """Decodes the messages of one topic.

    Args:
        schema: declared fields without the time.
        time: name of the time field; None when there is none.
        earliest_us: times before this are refused.
        future_us: times further than this ahead of the arrival are refused.
    """

    def __init__(
        self, schema: Mapping[str, FieldType], *, time: str | None = None, earliest_us: int = 0, future_us: int = 0
    ) -> None:
        self._schema = dict(schema)
        self._time = time
        self._check = ColumnCheck(self._schema, time, earliest_us, future_us)
        self._known: dict[bytes, list[_FieldReader]] = {}
        """Schema as it stands in messages -> what reads each field."""
        self._usual = b""
        """Schema of the message before."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*self._schema, *([self._time] if self._time is not None else []))

    def decode(self, messages: Payloads, arrivals_us: I64) -> Decoded:
        """Columns of what is right, and refusals of what is not: of a message, or of some of its rows.

        Args:
            messages: values of one batch.
            arrivals_us: (n,) when each arrived.
        """
        parts: list[_Part] = []
        refused: list[Refusal] = []
        sizes = messages.sizes
        for number in range(len(messages)):
            claimed = 1
            try:
                if sizes[number] > MOST_BYTES:
                    raise Refused("too_large", f"{sizes[number]} bytes; a message may have {MOST_BYTES}")
                # A copy of its own is aligned, as Arrow's kernels want it, and frees the batch's memory.
                message = messages[number]
                head, claimed = self._framed(message)
                parts += self._read(number, message, head)
            except Refused as refusal:
                events = max(1, claimed)
                refused.append(Refusal(row=number, reason=refusal.reason, detail=refusal.detail, events=events))
        columns, nulls, texts, finer = self._joined(parts)
        counts = [part.count for part in parts]
        rows = np.repeat(np.array([part.message for part in parts], dtype=np.int64), counts)
        ok = np.ones(len(rows), dtype=np.bool_)
        found = [
            (row, "bad_time", f"field {self._time!r} has nanoseconds; times are whole microseconds")
            for row in np.flatnonzero(finer).tolist()
        ]
        ok[finer] = False
        found += self._check.refuse(columns, nulls, texts, arrivals_us[rows], ok)
        if found:
            firsts = np.repeat(np.array([part.first for part in parts], dtype=np.int64), counts)
            places = firsts + np.arange(len(rows)) - np.repeat(np.cumsum([0, *counts[:-1]]), counts)
            refused += _grouped(found, rows, places)
        nulls = {
            name: nulls.get(name, np.zeros(len(rows), dtype=np.bool_))
            for name, kind in self._schema.items()
            if kind.nullable
        }
        if not ok.all():
            rows = rows[ok]
            columns = {name: column[ok] for name, column in columns.items()}
            nulls = {name: mask[ok] for name, mask in nulls.items()}
        return Decoded(rows=rows, columns=columns, nulls=nulls, refused=refused)

    def _framed(self, message: bytes) -> tuple[bytes, int]:
        try:
            self._usual, claimed = check_stream(message, self._usual)
        except FramingError as error:
            raise Refused("malformed_arrow", str(error)) from error
        if claimed > MOST_ROWS:
            raise Refused("too_large", f"{claimed} rows; a message may have {MOST_ROWS}")
        return self._usual, claimed

    def _read(self, number: int, message: bytes, head: bytes) -> list[_Part]:
        parts, first = [], 0
        try:
            with pa.ipc.open_stream(message) as stream:
                readers = self._readers(head, stream.schema)
                for batch in stream:
                    made = [_made(reader, batch) for reader in readers]
                    parts.append(_Part(message=number, first=first, count=batch.num_rows, made=made))
                    first += batch.num_rows
        except Refused:
            raise
        except Exception as error:  # whatever bytes make Arrow raise, they are the message's fault, not the stream's
            words = str(error).splitlines()[0][:200] if str(error) else repr(error)
            raise Refused("malformed_arrow", words) from error
        if first > MOST_ROWS:
            raise Refused("too_large", f"{first} rows; a message may have {MOST_ROWS}")
        return parts

    def _readers(self, head: bytes, given: Any) -> list[_FieldReader]:
        known = self._known.get(head)
        if known is None:
            known = [self._reader(name, given) for name in self.fields]
            if len(self._known) >= _MOST_SCHEMAS:
                self._known.clear()
            self._known[head] = known
        return known

    def _reader(self, name: str, given: Any) -> "_FieldReader":
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

    def _joined(
        self, parts: list[_Part]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]], dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Columns, nulls, bytes of texts, and where the time is finer than microseconds."""
        columns: dict[str, NDArray[Any]] = {}
        nulls: dict[str, NDArray[np.bool_]] = {}
        texts: dict[str, NDArray[Any]] = {}
        finer = np.zeros(sum(part.count for part in parts), dtype=np.bool_)
        for f, name in enumerate(self.fields):
            kind = self._schema.get(name)
            dtype = np.int64 if kind is None else DTYPES[type(kind)]
            pieces = [part.made[f] for part in parts]
            columns[name] = np.concatenate([np.empty(0, dtype=dtype), *(values for values, _, _ in pieces)])
            if any(null is not None for _, null, _ in pieces):
                nulls[name] = np.concatenate(
                    [np.zeros(len(values), dtype=np.bool_) if null is None else null for values, null, _ in pieces]
                )
            extra = [more for _, _, more in pieces if more is not None]
            if isinstance(kind, String):
                texts[name] = np.concatenate([np.empty(0, dtype=np.int64), *extra])
            elif kind is None and extra:
                finer = np.concatenate(
                    [np.zeros(len(values), dtype=np.bool_) if more is None else more for values, _, more in pieces]
                )
        return columns, nulls, texts, finer


def _made(field: _FieldReader, batch: Any) -> Made:
    if field.place is None:
        return field.read(batch)
    array = batch.column(field.place)
    array.validate(full=True)
    return field.read(array)


def _missing(kind: FieldType, batch: Any) -> Made:
    return all_null(kind, batch.num_rows)


def _grouped(found: list[tuple[int, str, str]], rows: I64, places: I64) -> list[Refusal]:
    """One refusal for each message and reason, in the words of its first row."""
    groups: dict[tuple[int, str], list[tuple[int, str]]] = {}
    for row, reason, detail in sorted(found):
        groups.setdefault((int(rows[row]), reason), []).append((int(places[row]), detail))
    return [
        Refusal(
            row=message,
            reason=reason,
            detail=f"row {bad[0][0]}: {bad[0][1]}" + (f"; and {len(bad) - 1} more rows" if len(bad) > 1 else ""),
            events=len(bad),
        )
        for (message, reason), bad in groups.items()
    ]
