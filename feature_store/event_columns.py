"""Events as columns of numbers, and how a table becomes them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.earlier_labels import earlier_of
from feature_store.ids import event_ids64
from feature_store.inputs import derive, fields_of
from feature_store.kernels import I64
from feature_store.offline_tables import ARRIVAL, EARLIER_LABELS, LABEL_ARRIVAL
from feature_store.plan import NEVER_US, NULL, ViewPlan
from feature_store.table_columns import find_column, has_column, read_field, read_labels, read_steps, read_times
from headrace.errors import ConfigError
from headrace.spec.streams import LabelledStream
from headrace.spec.types import FieldType, String

__all__ = ["EventColumns", "event_columns"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventColumns:
    """Events in the form kernels count. Shapes: n events, I inputs."""

    keys: NDArray[np.generic]
    """(n,) int64, or texts in an object array."""
    times_us: I64
    ids: I64
    inputs: I64
    """(I, n) whole steps; NULL where missing."""
    arrival_us: I64 | None = None
    """(n,) None: each arrived at its time."""
    input_arrival_us: I64 | None = None
    """(I, n) when the value became known; NEVER_US for a label not known yet. None: with the event."""
    earlier_labels: I64 | None = None
    """(3, m) labels that later ones corrected, see feature_store.earlier_labels; needs ``input_arrival_us``."""


def event_columns(plan: ViewPlan, table: pa.Table, *, what: str = "the events") -> EventColumns:
    """Columns of a view from a table of its stream's fields, names equal or equal but for case.

    The label column, ``_arrival``, ``_label_arrival`` and ``_earlier_labels`` are used where the table has them; a view
    that looks at labels needs the first.

    Raises:
        ConfigError: a column is missing or wrong; names the column, the number of bad rows and the first.
    """
    view, stream = plan.view, plan.view.events
    times_us = read_times(table, stream, what=what)
    inputs = np.empty((len(plan.inputs), len(times_us)), dtype=np.int64)
    known: I64 | None = None
    earlier: I64 | None = None
    schema = view.source.schema
    fields = {name: _exact(table, name, schema[name], what) for name in fields_of(plan.inputs)}
    for i, entry in enumerate(plan.inputs):
        if entry.is_label and isinstance(view.source, LabelledStream):
            labels = view.source.labels
            if not has_column(table, labels.value):
                raise ConfigError(
                    f"view {view.name!r} looks at labels, and {what} has no column {labels.value!r}",
                    hint=f"give a table of {stream.id!r} and {labels.value!r} with --labels",
                )
            inputs[i] = read_labels(find_column(table, labels.value, what=what), labels, what=what)
            if LABEL_ARRIVAL in table.column_names:
                known = np.full_like(inputs, NULL)
                known[i] = _arrivals(table[LABEL_ARRIVAL])
            if EARLIER_LABELS in table.column_names:
                earlier = earlier_of(table[EARLIER_LABELS])
        else:
            inputs[i] = derive(entry, fields, schema)
    return EventColumns(
        keys=read_field(table, view.entity, stream.schema[view.entity], what=what),
        times_us=times_us,
        ids=event_ids64(read_field(table, stream.id, stream.schema[stream.id], what=what)),
        inputs=inputs,
        arrival_us=_arrivals(table[ARRIVAL]) if ARRIVAL in table.column_names else None,
        input_arrival_us=known,
        earlier_labels=earlier,
    )


def _exact(table: pa.Table, name: str, kind: FieldType, what: str) -> NDArray[np.generic]:
    return (read_field if isinstance(kind, String) else read_steps)(table, name, kind, what=what)


def _arrivals(column: pa.ChunkedArray) -> I64:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    instants: I64 = column.fill_null(NEVER_US).to_numpy()
    return instants
