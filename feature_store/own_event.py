"""The event a read is made for, in the form the kernels count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import event_id64
from feature_store.inputs import derive, fields_of
from feature_store.kernels import I64
from feature_store.plan import NULL, ViewPlan
from headrace.errors import RejectedError
from headrace.spec.types import Bool, FieldType, Float64, String

__all__ = ["OwnEvent", "OwnEventReader"]

_MAX_STEPS = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvent:
    """An event the stream may or may not have applied yet."""

    id: int | str
    time_us: int
    fields: Mapping[str, object]
    """Values by field of the stream, as a producer would write them."""
    stream: str | None = None
    """Its stream: views of others are asked at its time, without it. None: of every view's."""


class OwnEventReader:
    """Turns own events into the columns of one view."""

    def __init__(self, plan: ViewPlan) -> None:
        self._schema = plan.view.source.schema
        self._view, self._stream = plan.view.name, plan.view.events
        self._inputs = plan.inputs
        self._fields = fields_of(plan.inputs)

    def columns(self, own: Sequence[OwnEvent | None]) -> tuple[I64, I64, I64]:
        """Times (n,), ids (n,) and exact inputs (I, n); zeros where there is no event.

        The label of an own event is not known, hence null.

        Raises:
            RejectedError: an event lacks a field the view aggregates, or has a value that is not of its type; or the
                stream's events have no id, so nobody knows whether it has counted one already.
        """
        times, ids = np.zeros(len(own), np.int64), np.zeros(len(own), np.int64)
        inputs = np.zeros((len(self._inputs), len(own)), np.int64)
        there = [row for row, event in enumerate(own) if event is not None]
        if not there:
            return times, ids, inputs
        if not self._stream.has_id:
            raise RejectedError(
                f"own event for view {self._view!r}: events of stream {self._stream.name!r} have no id, so nobody"
                " knows whether it has counted this one already",
                hint="ask without an own event, at an instant (at_us); or let producers write an id",
            )
        events = [event for event in own if event is not None]
        times[there] = [event.time_us for event in events]
        ids[there] = [event_id64(event.id) for event in events]
        columns = {field: self._column(field, [event.fields.get(field) for event in events]) for field in self._fields}
        for i, entry in enumerate(self._inputs):
            inputs[i, there] = NULL if entry.is_label else derive(entry, columns, self._schema)
        return times, ids, inputs

    def _column(self, field: str, values: list[object]) -> NDArray[np.generic]:
        """(n,) a field of the events in exact form."""
        kind = self._schema[field]
        if not isinstance(kind, String):
            return np.array([self._steps(field, kind, kind.scale, value) for value in values], np.int64)
        texts = np.empty(len(values), object)
        texts[:] = [self._text(field, kind, value) for value in values]
        return texts

    def _text(self, field: str, kind: String, value: object) -> str | None:
        if value is None:
            self._steps(field, kind, 1, value)
            return None
        if not isinstance(value, str):
            raise RejectedError(f"own event has {field} = {value!r}", hint=f"the stream declares it as {kind!r}")
        return value

    def _steps(self, field: str, kind: FieldType, scale: int, value: object) -> int:
        if value is None:
            if kind.nullable:
                return NULL
            raise RejectedError(f"own event lacks field {field!r}", hint=f"view {self._view!r} aggregates it")
        if isinstance(kind, Bool):
            if isinstance(value, bool):
                return int(value)
        elif not isinstance(value, bool):
            if isinstance(kind, Float64) and isinstance(value, int | float) and abs(value * scale) < _MAX_STEPS:
                return round(value * scale)  # as plan.to_steps rounds; NaN and infinities fail the bound
            if not isinstance(kind, Float64) and isinstance(value, int) and -(2**63) < value < 2**63:
                return value
        raise RejectedError(f"own event has {field} = {value!r}", hint=f"the stream declares it as {kind!r}")
