"""Columns of the three offline logs."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.plan import NEVER_US, ViewPlan
from feature_store.row_values import arrow_type, value_arrays
from feature_store.rows import RowBatch
from headrace.spec.features import FeatureView
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Bool, FieldType, Float64, Int64, String

__all__ = [
    "ARRIVAL",
    "CREATED",
    "EARLIER_LABELS",
    "EVENT_TIMESTAMP",
    "LABEL_ARRIVAL",
    "LATE",
    "OFFSET",
    "PARTITION",
    "TIMESTAMP",
    "VALID_UNTIL",
    "VERSION",
    "event_schema",
    "feature_schema",
    "feature_table",
    "label_schema",
]

TIMESTAMP = pa.timestamp("us", tz="UTC")
"""Nanoseconds would be a type of their own in DuckDB, which it refuses to compare with this one."""

ARRIVAL, PARTITION, OFFSET, LATE = "_arrival", "_partition", "_offset", "_late"
LABEL_ARRIVAL, EARLIER_LABELS = "_label_arrival", "_earlier_labels"
EVENT_TIMESTAMP, CREATED, VALID_UNTIL, VERSION = "event_timestamp", "created_timestamp", "valid_until", "version"

_ORIGIN = (pa.field(ARRIVAL, TIMESTAMP), pa.field(PARTITION, pa.int32()), pa.field(OFFSET, pa.int64()))


def event_schema(stream: EventStream) -> pa.Schema:
    """Event log: the stream's fields and time, then arrival, source partition and offset, and whether it came too late.

    Numbers stand there as the producer wrote them; the fixed-point form is derived when they are used.
    """
    declared = [pa.field(name, _arrow_type(kind), kind.nullable) for name, kind in stream.schema.items()]
    return pa.schema([*declared, pa.field(stream.time, TIMESTAMP), *_ORIGIN, pa.field(LATE, pa.bool_())])


def label_schema(labels: LabelStream) -> pa.Schema:
    """Label log: id of the event, outcome, then arrival, source partition and offset."""
    stream = labels.of
    return pa.schema(
        [pa.field(stream.id, _arrow_type(stream.schema[stream.id])), pa.field(labels.value, pa.int64()), *_ORIGIN]
    )


def feature_schema(view: FeatureView) -> pa.Schema:
    """Feature log: one row for each change of a key's row.

    ``event_timestamp`` is the instant from which the values hold, ``valid_until`` the first instant at which they no
    longer do (null: they hold until an event comes). Of rows with equal key and ``event_timestamp`` the one with the
    newest ``created_timestamp`` counts. ``version`` is the offset in the keyed log.
    """
    values = [pa.field(feature.name, arrow_type(feature)) for feature in view.features]
    return pa.schema(
        [
            pa.field(view.entity, _arrow_type(view.source.schema[view.entity])),
            pa.field(EVENT_TIMESTAMP, TIMESTAMP),
            pa.field(CREATED, TIMESTAMP),
            *values,
            pa.field(VALID_UNTIL, TIMESTAMP),
            pa.field(VERSION, pa.int64()),
        ]
    )


def feature_table(
    plan: ViewPlan, rows: RowBatch, *, created_us: int | NDArray[np.int64], version: int | NDArray[np.int64]
) -> pa.Table:
    """Rows as the feature log keeps them.

    Args:
        plan: the view.
        rows: at most one for a key, instant and ``created_us``.
        created_us: rises from batch to batch of a partition; of rows for one key and instant the newest counts.
        version: offset in the keyed log these rows reflect; both of all rows, or (n,).
    """
    schema = feature_schema(plan.view)
    n = len(rows)
    ends = pa.array(rows.valid_until_us, pa.int64(), mask=rows.valid_until_us == NEVER_US)
    columns = [
        pa.array(rows.keys, schema.field(0).type),
        pa.array(rows.valid_from_us, pa.int64()).cast(TIMESTAMP),
        pa.array(np.full(n, created_us), pa.int64()).cast(TIMESTAMP),
        *value_arrays(plan, rows.values),
        ends.cast(TIMESTAMP),
        pa.array(np.full(n, version), pa.int64()),
    ]
    return pa.table(columns, schema=schema)


def _arrow_type(kind: FieldType) -> pa.DataType:
    for cls, arrow in ((Int64, pa.int64()), (Float64, pa.float64()), (String, pa.string()), (Bool, pa.bool_())):
        if isinstance(kind, cls):
            return arrow
    raise AssertionError(f"no column type for {kind!r}")
