"""Arrow messages to columns: each an IPC stream of many rows, none of it trusted.

message ─► framing (bounds, no compression) ─► reader (schema, batches, validated columns) ─► check ─► columns
    └── refused as a whole ◄──┴────────────────────────┘                                        └─► some rows
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.config import StreamSettings
from headrace.spec.types import FieldType, String
from streams.formats.arrow_columns import DTYPES
from streams.formats.arrow_framing import FramingError, TooManyPartsError, check_stream
from streams.formats.arrow_reader import ArrowPart, ArrowReader, FramedMessage
from streams.formats.column_check import ColumnCheck
from streams.formats.decode import Decoded, Refusal
from streams.formats.message_check import USUAL_BOUNDS, Refused, beyond
from streams.messages.payloads import Payloads

__all__ = ["ArrowDecoder"]

I64 = NDArray[np.int64]
_MOST_TOGETHER = 256
"""Messages read as one stream; one that is damaged makes all of them be read again alone."""


class ArrowDecoder:
    """Decodes the messages of one topic.

    Args:
        schema: declared fields without the time.
        time: name of the time field; None when there is none.
        earliest_us: times before this are refused.
        future_us: times further than this ahead of the arrival are refused.
        values: integer field -> the only values it may have; others are refused as ``bad_label``.
        bounds: bytes, rows and parts a message may have.
    """

    malformed = "malformed_arrow"

    def __init__(
        self,
        schema: Mapping[str, FieldType],
        *,
        time: str | None = None,
        earliest_us: int = 0,
        future_us: int = 0,
        values: Mapping[str, frozenset[int]] | None = None,
        bounds: StreamSettings = USUAL_BOUNDS,
    ) -> None:
        self._schema = dict(schema)
        self._time = time
        self._bounds = bounds
        self._check = ColumnCheck(self._schema, time, earliest_us, future_us, values)
        self._reader = ArrowReader(self._schema, time)
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
        refused: list[Refusal] = []
        parts: list[ArrowPart] = []
        for group in self._groups(messages, refused):
            parts += self._read(group, refused)
        columns, nulls, texts, finer = self._joined(parts)
        batches = np.array([place for part in parts for place in part.rows], dtype=np.int64).reshape(-1, 3)
        rows = np.repeat(batches[:, 0], batches[:, 2])
        ok = ~finer
        found = [
            (row, "bad_time", f"field {self._time!r} has nanoseconds; times are whole microseconds")
            for row in np.flatnonzero(finer).tolist()
        ]
        found += self._check.refuse(columns, nulls, texts, arrivals_us[rows], ok)
        if found:
            ends = np.cumsum(batches[:, 2])
            places = np.arange(len(rows)) + np.repeat(batches[:, 1] + batches[:, 2] - ends, batches[:, 2])
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

    def _groups(self, messages: Payloads, refused: list[Refusal]) -> Iterator[list[FramedMessage]]:
        """Messages that can be read together, in their order."""
        most_bytes = self._bounds.max_arrow_bytes
        group: list[FramedMessage] = []
        for number, size in enumerate(messages.sizes.tolist()):
            try:
                if size > most_bytes:
                    raise Refused("too_large", beyond(f"{size} bytes", "max_arrow_bytes", most_bytes))
                message = self._framed(number, messages[number])
            except Refused as refusal:
                refused.append(Refusal(row=number, reason=refusal.reason, detail=refusal.detail))
                continue
            alone = message.framing.dictionaries > 0
            if group and (alone or message.framing.schema != group[0].framing.schema or len(group) >= _MOST_TOGETHER):
                yield group
                group = []
            group.append(message)
            if alone:
                yield group
                group = []
        if group:
            yield group

    def _framed(self, number: int, data: bytes) -> FramedMessage:
        bounds = self._bounds
        try:
            framing = check_stream(data, self._usual, most_parts=bounds.max_arrow_parts)
        except TooManyPartsError as error:
            raise Refused("too_large", beyond(str(error), "max_arrow_parts", bounds.max_arrow_parts)) from error
        except FramingError as error:
            raise Refused("malformed_arrow", str(error)) from error
        self._usual = framing.schema
        if framing.rows > bounds.max_arrow_rows:
            raise Refused("too_large", beyond(f"{framing.rows} rows", "max_arrow_rows", bounds.max_arrow_rows))
        return FramedMessage(number, data, framing)

    def _read(self, group: list[FramedMessage], refused: list[Refusal]) -> list[ArrowPart]:
        try:
            return self._reader.read(group)
        except Refused as refusal:
            if len(group) == 1:
                events = max(1, group[0].framing.rows)
                refused.append(
                    Refusal(row=group[0].number, reason=refusal.reason, detail=refusal.detail, events=events)
                )
                return []
        return [part for message in group for part in self._read([message], refused)]

    def _joined(
        self, parts: list[ArrowPart]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.bool_]], dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Columns, nulls, bytes of texts, and where the time is finer than microseconds."""
        columns: dict[str, NDArray[Any]] = {}
        nulls: dict[str, NDArray[np.bool_]] = {}
        texts: dict[str, NDArray[Any]] = {}
        finer = np.zeros(sum(count for part in parts for _, _, count in part.rows), dtype=np.bool_)
        for f, name in enumerate(self.fields):
            kind = self._schema.get(name)
            dtype = np.int64 if kind is None else DTYPES[type(kind)]
            pieces = [part.made[f] for part in parts]
            # Always copied: what comes from Arrow is read-only, and may lie askew.
            columns[name] = np.concatenate([np.empty(0, dtype=dtype), *(values for values, _, _ in pieces)])
            if any(null is not None for _, null, _ in pieces):
                nulls[name] = np.concatenate([_mask(values, null) for values, null, _ in pieces])
            if isinstance(kind, String):
                sizes = [size for _, _, size in pieces if size is not None]
                texts[name] = np.concatenate([np.empty(0, dtype=np.int64), *sizes])
            elif kind is None and any(more is not None for _, _, more in pieces):
                finer = np.concatenate([_mask(values, more) for values, _, more in pieces])
        return columns, nulls, texts, finer


def _mask(values: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[np.bool_]:
    return np.zeros(len(values), dtype=np.bool_) if mask is None else mask


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
