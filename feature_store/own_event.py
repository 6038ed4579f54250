"""The event a read is made for, in the form the kernels count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_store.ids import event_id64
from feature_store.kernels import I64
from feature_store.plan import NULL, ViewPlan
from headrace.errors import RejectedError
from headrace.spec.types import Bool, FieldType, Float64

__all__ = ["OwnEvent", "OwnEventReader"]

_MAX_STEPS = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvent:
    """An event the stream may or may not have applied yet."""

    id: int | str
    time_us: int
    fields: Mapping[str, object]
    """Values by field of the stream, as a producer would write them."""


class OwnEventReader:
    """Turns own events into the columns of one view."""

    def __init__(self, plan: ViewPlan) -> None:
        schema = plan.view.source.schema
        self._view = plan.view.name
        self._inputs = len(plan.inputs)
        self._labels = [i for i, column in enumerate(plan.inputs) if column.is_label]
        self._fields = [
            (i, column.column, schema[column.column], column.scale)
            for i, column in enumerate(plan.inputs)
            if not column.is_label
        ]

    def columns(self, own: Sequence[OwnEvent | None]) -> tuple[I64, I64, I64]:
        """Times (n,), ids (n,) and exact inputs (I, n); zeros where there is no event.

        The label of an own event is not known, hence null.

        Raises:
            RejectedError: an event lacks a field the view aggregates, or has a value that is not of its type.
        """
        times, ids = np.zeros(len(own), np.int64), np.zeros(len(own), np.int64)
        inputs = np.zeros((self._inputs, len(own)), np.int64)
        inputs[self._labels] = NULL
        for row, event in enumerate(own):
            if event is not None:
                times[row], ids[row] = event.time_us, event_id64(event.id)
                for i, field, kind, scale in self._fields:
                    inputs[i, row] = self._steps(field, kind, scale, event.fields.get(field))
        return times, ids, inputs

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
