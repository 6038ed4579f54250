"""JSON messages to columns: a whole batch by the scanner, what is unusual one by one.

messages ─► scanner ─► accepted as they are ─┐
               └─► everything else ─► check ─┴─► columns
                                        └──► refused, each with its reason
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headrace.config import StreamSettings
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Bool, FieldType, Float64, Int64, String
from streams.formats.json_scanner import BOOL, INT, LONG_NUMBER, PRESENT, REAL, TEXT, TIME, scan
from streams.formats.message_check import USUAL_BOUNDS, Refused, bad_label, check_message, check_time_bounds
from streams.messages.payloads import Payloads

__all__ = ["BatchDecoder", "Decoded", "Decoder", "Refusal", "event_decoder", "label_decoder", "label_fields"]

I64 = NDArray[np.int64]
_KINDS = {Int64: INT, Float64: REAL, String: TEXT, Bool: BOOL}
_DTYPES: dict[int, Any] = {INT: np.int64, REAL: np.float64, TEXT: object, BOOL: np.bool_, TIME: np.int64}
_MAX_STEPS = 2.0**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A message, or some rows of one, that are not used."""

    row: int
    """Place of the message in the batch."""
    reason: str
    """One of DEAD_LETTER_REASONS."""
    detail: str
    events: int = 1
    """How many events that are."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """Columns of the accepted events."""

    rows: I64
    """Places of their messages in the batch, rising; one that holds many events stands there for each."""
    columns: dict[str, NDArray[np.generic]]
    """Field -> int64, float64, bool, or objects (texts); time is microseconds. Null cells: 0, NaN, False, None."""
    nulls: dict[str, NDArray[np.bool_]]
    """Nullable field -> where it is null."""
    refused: list[Refusal]


class BatchDecoder(Protocol):
    """Decodes the messages of one topic, whatever their format."""

    malformed: str
    """Reason to refuse what is no message of this format, an empty one for example."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns."""

    def decode(self, messages: Payloads, arrivals_us: I64) -> Decoded:
        """Columns of what is right, and refusals of what is not; ``arrivals_us`` (n,) says when each came."""


class Decoder:
    """Decodes the JSON messages of one topic.

    Args:
        schema: fields without the time; nullable ones may be absent.
        time: name of the time field, None when there is none.
        earliest_us: times before this are refused.
        future_us: times further than this ahead of the arrival are refused.
        values: integer field -> the only values it may have; others are refused as ``bad_label``.
        bounds: how large and how deep a message may be.
    """

    malformed = "malformed_json"

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
        self._earliest_us = earliest_us
        self._future_us = future_us
        self._allowed = dict(values or {})
        self._bounds = bounds
        self._names = [*self._schema, *([time] if time is not None else [])]
        kinds = [_KINDS[type(kind)] for kind in self._schema.values()]
        self._kinds = np.array([*kinds, *([TIME] if time is not None else [])], dtype=np.uint8)
        self._name_texts = Payloads.of([name.encode() for name in self._names])

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._names)

    def decode(self, messages: Payloads, arrivals_us: I64) -> Decoded:
        """Columns of what is right, and a refusal for each message that is not.

        Args:
            messages: values of one batch, not empty each.
            arrivals_us: (n,) when each arrived.
        """
        buf, bounds = messages.buffer, messages.bounds
        fields, n = len(self._names), len(messages)
        cells, reals = np.empty((fields, n), dtype=np.int64), np.empty((fields, n), dtype=np.float64)
        spans, flags = np.empty((fields, n), dtype=np.int32), np.zeros((fields, n), dtype=np.uint8)
        ok = np.empty(n, dtype=np.bool_)
        names = self._name_texts
        scan(buf, bounds, names.buffer, names.bounds, self._kinds, cells, reals, spans, flags, ok)
        ok &= messages.sizes <= self._bounds.max_message_bytes
        columns: dict[str, NDArray[np.generic]] = {}
        nulls: dict[str, NDArray[np.bool_]] = {}
        for f, (name, kind) in enumerate(self._schema.items()):
            given = (flags[f] == PRESENT) | (flags[f] == LONG_NUMBER)
            if kind.nullable:
                null = nulls[name] = ~given
                if null.any():
                    cells[f][null], reals[f][null], spans[f][null] = 0, 0.0, 0
            else:
                ok &= given
            if isinstance(kind, Float64):
                columns[name] = _reals(buf, reals[f], cells[f], spans[f], flags[f], kind, ok)
            elif isinstance(kind, String):
                columns[name] = _texts(buf, cells[f], spans[f], flags[f], kind, ok)
            else:
                columns[name] = cells[f].astype(_DTYPES[int(self._kinds[f])], copy=False)
                if name in self._allowed:
                    ok &= np.isin(columns[name], list(self._allowed[name]))
        if self._time is not None:
            times = cells[fields - 1]
            ok &= flags[fields - 1] == PRESENT
            ok &= (times >= self._earliest_us) & (times - self._future_us <= arrivals_us)
            columns[self._time] = times
        refused = self._decide_slowly(messages, arrivals_us, ok, columns, nulls)
        rows = np.flatnonzero(ok)
        if len(rows) < n:
            columns = {name: column[rows] for name, column in columns.items()}
            nulls = {name: mask[rows] for name, mask in nulls.items()}
        return Decoded(rows=rows, columns=columns, nulls=nulls, refused=refused)

    def _decide_slowly(
        self,
        messages: Payloads,
        arrivals_us: I64,
        ok: NDArray[np.bool_],
        columns: dict[str, NDArray[np.generic]],
        nulls: dict[str, NDArray[np.bool_]],
    ) -> list[Refusal]:
        """Put what the check accepts into the columns; refuse the rest."""
        refused = []
        for row in np.flatnonzero(~ok).tolist():
            try:
                values = self.check(messages[row], int(arrivals_us[row]))
            except Refused as refusal:
                refused.append(Refusal(row=row, reason=refusal.reason, detail=refusal.detail))
                continue
            for name, value in values.items():
                column = columns[name]
                if name in nulls:
                    nulls[name][row] = value is None
                if value is None:
                    value = np.nan if column.dtype == np.float64 else None if column.dtype == object else 0
                column[row] = value
            ok[row] = True
        return refused

    def check(self, message: bytes, arrival_us: int) -> dict[str, Any]:
        """Values of one message; defines what :meth:`decode` must do faster.

        Raises:
            Refused: it is not used.
        """
        values = check_message(message, self._schema, self._time, self._bounds)
        if self._time is not None:
            check_time_bounds(values[self._time], arrival_us, self._earliest_us, self._future_us)
        for name, allowed in self._allowed.items():
            if values[name] not in allowed:
                raise Refused(*bad_label(name, values[name], allowed))
        return values


def event_decoder(stream: EventStream, bounds: StreamSettings = USUAL_BOUNDS) -> Decoder:
    """Decoder of a stream's topic."""
    return Decoder(
        stream.published, time=stream.time, earliest_us=stream.earliest_us, future_us=stream.future_us, bounds=bounds
    )


def label_decoder(labels: LabelStream, bounds: StreamSettings = USUAL_BOUNDS) -> Decoder:
    """Decoder of a label stream's topic."""
    schema, values = label_fields(labels)
    return Decoder(schema, values=values, bounds=bounds)


def label_fields(labels: LabelStream) -> tuple[Mapping[str, FieldType], Mapping[str, frozenset[int]]]:
    """Fields of a label, the id of its event and the outcome, and what the outcome may be: 0 or 1."""
    schema = {labels.of.id: labels.of.schema[labels.of.id], labels.value: Int64()}
    return schema, {labels.value: frozenset({0, 1})}


def _reals(
    buf: NDArray[np.uint8],
    reals: NDArray[np.float64],
    starts: I64,
    spans: NDArray[np.int32],
    flags: NDArray[np.uint8],
    kind: Float64,
    ok: NDArray[np.bool_],
) -> NDArray[np.float64]:
    for row in np.flatnonzero(flags == LONG_NUMBER).tolist():
        start = int(starts[row])
        # + 0.0 turns the negative zero into the only zero there is.
        reals[row] = float(buf[start : start + int(spans[row])].tobytes()) + 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # also of rows that nothing was read of
        ok &= np.abs(np.rint(reals * kind.scale)) < _MAX_STEPS
    if kind.nullable:
        reals[(flags != PRESENT) & (flags != LONG_NUMBER)] = np.nan
    return reals


def _texts(
    buf: NDArray[np.uint8],
    starts: I64,
    spans: NDArray[np.int32],
    flags: NDArray[np.uint8],
    kind: String,
    ok: NDArray[np.bool_],
) -> NDArray[np.object_]:
    ok &= spans <= kind.max_bytes
    texts = np.full(len(ok), None, dtype=object)
    for row in np.flatnonzero(ok & (flags == PRESENT)).tolist():
        start = int(starts[row])
        try:
            texts[row] = buf[start : start + int(spans[row])].tobytes().decode()
        except UnicodeDecodeError:
            ok[row] = False
    return texts
