"""A feature view compiled to arrays: what the kernels of stream, file, training set and lookup run on.

An event at ``t`` counts for feature ``f`` at the instant ``q`` iff ``t + enter_us[f] <= q < t + leave_us[f]``.
All features of a view together change only at ``t + offset`` for the few distinct ``offsets``, so one search per
offset answers every feature, and the same searches give the instants between which a row does not change:

          t      t+enter                  t+leave
    ──────●─────────●────────────────────────●──────► q
          row 1     row 2                    row 3
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.spec.features import FeatureView
from headrace.spec.project import fingerprint
from headrace.spec.streams import LabelledStream
from headrace.spec.types import FieldType, String

__all__ = [
    "COUNT",
    "MAX_STATE_EVENTS",
    "MEAN",
    "NEVER_US",
    "NULL",
    "SUM",
    "InputPlan",
    "ViewPlan",
    "compile_view",
    "to_steps",
]

NEVER_US = 2**63 - 1
"""An instant that does not come: ``valid_until`` of a row that stays, arrival of a label that is not known."""
NULL = -(2**63)
"""A missing value in an int64 input."""
MAX_STATE_EVENTS = 4096
"""Most events of one key that travel with its row; see docs/adr/0003."""

COUNT, SUM, MEAN = 0, 1, 2
_KINDS = {"count": COUNT, "sum": SUM, "mean": MEAN}


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """One aggregated column in its exact integer form."""

    column: str
    scale: int
    """Steps per 1: value = steps / scale."""
    nullable: bool
    is_label: bool
    """Set by the label stream, not by the event."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewPlan:
    """Shapes: F features, I inputs, D distinct offsets."""

    view: FeatureView
    inputs: tuple[InputPlan, ...]
    kind: NDArray[np.int8]
    """(F,) COUNT, SUM or MEAN."""
    input_index: NDArray[np.int32]
    """(F,) row of the input; -1 for count."""
    enter_us: NDArray[np.int64]
    leave_us: NDArray[np.int64]
    scale: NDArray[np.int64]
    """(F,) steps per 1 of the input; 1 for count."""
    empty: NDArray[np.float64]
    """(F,) value when nothing is in the window; NaN is null."""
    is_int: NDArray[np.bool_]
    """(F,) features whose type is Int64."""
    offsets: NDArray[np.int64]
    """(D,) distinct 0, enter and leave offsets, rising: a row can change only at t + offset of some event."""
    enter_at: NDArray[np.int32]
    """(F,) position of enter_us in offsets."""
    leave_at: NDArray[np.int32]
    """(F,) position of leave_us in offsets."""
    label_input: int
    """Row of the label among the inputs; -1 when the view looks at none."""
    label_enter_us: int
    """First instant after an event at which its label can matter; NEVER_US without a label."""
    reach_us: int
    """How far back from ``q`` any window looks."""
    lateness_us: int
    retention_us: int
    """How far behind the watermark events are kept: reach and lateness."""
    version: str
    """Fingerprint of the definition."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.view.feature_names

    @property
    def nullable(self) -> NDArray[np.bool_]:
        """(I,) inputs that can be missing."""
        return np.array([entry.nullable for entry in self.inputs], dtype=np.bool_)

    @property
    def has_text_keys(self) -> bool:
        """Whether entity keys are strings (object arrays) rather than int64."""
        return isinstance(self.view.source.schema[self.view.entity], String)


def compile_view(view: FeatureView) -> ViewPlan:
    """Compile the definition of a view.

    >>> from headrace import EventStream, FeatureView, Float64, Int64, mean
    >>> tx = EventStream("tx", key="card", time="at", id="id", schema={"card": Int64, "eur": Float64(resolution=0.01)})
    >>> plan = compile_view(FeatureView("spend", entity="card", source=tx, features=[mean("eur").over("1h")]))
    >>> plan.inputs[0].scale, plan.offsets.tolist()
    (100, [0, 1, 3600000001])
    """
    schema = view.source.schema
    label = view.source.labels.value if isinstance(view.source, LabelledStream) else None
    columns: list[str] = []
    for feature in view.features:
        if feature.column is not None and feature.column not in columns:
            columns.append(feature.column)
    inputs = tuple(
        InputPlan(
            column=column,
            scale=_scale(schema[column]),
            nullable=schema[column].nullable,
            is_label=column == label,
        )
        for column in columns
    )
    input_index = [columns.index(feature.column) if feature.column else -1 for feature in view.features]
    enter = np.array([feature.enter_us(view.closed) for feature in view.features], dtype=np.int64)
    leave = np.array([feature.leave_us(view.closed) for feature in view.features], dtype=np.int64)
    offsets = np.unique(np.concatenate((np.zeros(1, np.int64), enter, leave)))
    label_input = columns.index(label) if label in columns else -1
    label_enters = [int(enter[f]) for f, index in enumerate(input_index) if index == label_input >= 0]
    return ViewPlan(
        view=view,
        inputs=inputs,
        kind=np.array([_KINDS[feature.kind] for feature in view.features], dtype=np.int8),
        input_index=np.array(input_index, dtype=np.int32),
        enter_us=enter,
        leave_us=leave,
        scale=np.array([inputs[i].scale if i >= 0 else 1 for i in input_index], dtype=np.int64),
        empty=np.array([np.nan if f.empty is None else f.empty for f in view.features], dtype=np.float64),
        is_int=np.array([feature.kind == "count" for feature in view.features], dtype=np.bool_),
        offsets=offsets,
        enter_at=np.searchsorted(offsets, enter).astype(np.int32),
        leave_at=np.searchsorted(offsets, leave).astype(np.int32),
        label_input=label_input,
        label_enter_us=min(label_enters, default=NEVER_US),
        reach_us=view.reach_us,
        lateness_us=view.events.lateness_us,
        retention_us=view.reach_us + view.events.lateness_us,
        version=fingerprint(view),
    )


def to_steps(values: NDArray[np.float64], scale: int) -> NDArray[np.int64]:
    """Decimals as whole steps, rounded to the nearest, halves to even; NaN becomes NULL.

    For one number ``round(value * scale)`` gives the same. Bounds (2**53 steps) are the caller's to check.

    >>> to_steps(np.array([57.16, np.nan]), 1_000_000).tolist()
    [57160000, -9223372036854775808]
    """
    missing = np.isnan(values)
    steps: NDArray[np.int64] = np.rint(np.where(missing, 0.0, values) * scale).astype(np.int64)
    steps[missing] = NULL
    return steps


def _scale(kind: FieldType) -> int:
    return 1 if isinstance(kind, String) else kind.scale
