"""A feature view compiled to what the kernels of stream, file, training set and lookup run on.

An event counts for a feature at the instant ``q`` once it has passed the window's new edge, and until it passes the old
one (:mod:`headrace.spec.windows`). All features of a view together have few distinct edges, so one search per edge
answers every feature, and the same searches give the instants between which a row does not change:

          t      new edge                 old edge
    ──────●─────────●────────────────────────●──────► q
          row 1     row 2                    row 3
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.spec.aggregations import Feature
from headrace.spec.conditions import Condition
from headrace.spec.features import FeatureView
from headrace.spec.project import fingerprint
from headrace.spec.streams import LabelledStream
from headrace.spec.types import FieldType, Int64, String
from headrace.spec.windows import Edge

__all__ = [
    "MAX_STATE_EVENTS",
    "NEVER_US",
    "NULL",
    "FeaturePlan",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """One number of an event in its exact integer form; feature_store.inputs makes it."""

    name: str
    """Unlike that of every input made otherwise; the column's own name when it is just that."""
    column: str | None
    """Field; None: what is counted is whether ``where`` holds."""
    where: Condition | None
    """Null where it does not hold."""
    otherwise: int
    """Without a column: the value where ``where`` fails (0, or NULL)."""
    unknown: int
    """Without a column: the value where it is unknown (0, or NULL)."""
    scale: int
    """Steps per 1: value = steps / scale."""
    nullable: bool
    is_label: bool
    """Set by the label stream, not by the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """Where a feature finds what it needs; edges are places in ViewPlan.edges."""

    feature: Feature
    input_index: int
    """Row of the input; -1 without."""
    enter_at: int
    leave_at: int
    """-1: events never leave."""
    pause_at: int
    """-1: no session."""
    slot: int
    """First of the row's cells that are its; it has ``feature.width``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewPlan:
    """Shapes: I inputs, D distinct edges, W cells of a row (numbers; a list takes several)."""

    view: FeatureView
    inputs: tuple[InputPlan, ...]
    features: tuple[FeaturePlan, ...]
    edges: tuple[Edge, ...]
    """Those without a grid first, by shift; the first is that of the event's own instant."""
    width: int
    """W."""
    is_int: NDArray[np.bool_]
    """(W,) cells whose type is Int64."""
    label_input: int
    """Row of the label among the inputs; -1 when the view looks at none."""
    label_enter_us: int
    """First instant after an event at which its label can matter; NEVER_US without a label."""
    reach_us: int
    """How far back from ``q`` any window looks at single events."""
    lateness_us: int
    retention_us: int
    """How far behind the watermark events are kept: reach and lateness. A lifetime, which an event changes however old
    it is, reaches back the lateness at least: a partition that was idle may go on so far behind the others. One of
    labels reaches back their delay."""
    is_continuous: bool
    """Whether some value changes as time passes."""
    version: str
    """Fingerprint of the definition."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.view.feature_names

    @property
    def sketches(self) -> tuple[FeaturePlan, ...]:
        """Features that kernels know nothing of: estimates over a lifetime (feature_store.sketches)."""
        return tuple(entry for entry in self.features if entry.feature.is_sketch)

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
    >>> plan.inputs[0].scale, [edge.shift_us for edge in plan.edges]
    (100, [0, 1, 3600000001])
    """
    inputs: dict[str, InputPlan] = {}
    wanted = [_input_of(feature, view) for feature in view.features]
    for entry in wanted:
        if entry is not None:
            inputs.setdefault(entry.name, entry)
    names = list(inputs)
    enters = [feature.window.enters(view.closed, feature.delay_us) for feature in view.features]
    leaves = [feature.window.leaves(view.closed, feature.delay_us) for feature in view.features]
    pauses = [feature.window.pauses(feature.delay_us) for feature in view.features]
    edges = _edges([Edge(0), *enters, *(edge for edge in (*leaves, *pauses) if edge is not None)])
    features, slot = [], 0
    for feature, entry, enter, leave, pause in zip(view.features, wanted, enters, leaves, pauses, strict=True):
        features.append(
            FeaturePlan(
                feature=feature,
                input_index=-1 if entry is None else names.index(entry.name),
                enter_at=edges.index(enter),
                leave_at=-1 if leave is None else edges.index(leave),
                pause_at=-1 if pause is None else edges.index(pause),
                slot=slot,
            )
        )
        slot += feature.width
    label_input = next((i for i, entry in enumerate(inputs.values()) if entry.is_label), -1)
    label_enters = [
        edges[entry.enter_at].shift_us + edges[entry.enter_at].back_us
        for entry in features
        if entry.input_index == label_input >= 0
    ]
    return ViewPlan(
        view=view,
        inputs=tuple(inputs.values()),
        features=tuple(features),
        edges=edges,
        width=slot,
        is_int=np.array([f.value_type is Int64 for f in view.features for _ in range(f.width)], dtype=np.bool_),
        label_input=label_input,
        label_enter_us=min(label_enters, default=NEVER_US),
        reach_us=view.reach_us,
        lateness_us=view.events.lateness_us,
        retention_us=max(view.reach_us, _lifetime_reach_us(features, label_input, view)) + view.events.lateness_us,
        is_continuous=any(feature.is_continuous for feature in view.features),
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


def _lifetime_reach_us(features: list[FeaturePlan], label_input: int, view: FeatureView) -> int:
    """How far back single events matter to what counts them for ever."""
    lifetimes = [entry for entry in features if entry.leave_at < 0]
    if isinstance(view.source, LabelledStream) and any(entry.input_index == label_input for entry in lifetimes):
        return max(view.events.lateness_us, view.source.labels.delay_us)
    return view.events.lateness_us if lifetimes else 0


def _edges(edges: list[Edge]) -> tuple[Edge, ...]:
    return tuple(sorted(set(edges), key=lambda edge: (edge.grid_us, edge.shift_us, edge.back_us)))


def _input_of(feature: Feature, view: FeatureView) -> InputPlan | None:
    """The input of a feature; None when it looks at nothing but the events' times."""
    where, schema = feature.aggregation.where, view.source.schema
    if feature.column is not None:
        kind = schema[feature.column]
        labels = view.source.labels.value if isinstance(view.source, LabelledStream) else None
        return InputPlan(
            name=feature.column if where is None else f"{feature.column} where {where!r}",
            column=feature.column,
            where=where,
            otherwise=NULL,
            unknown=NULL,
            scale=_scale(kind),
            nullable=kind.nullable or where is not None,
            is_label=feature.column == labels,
        )
    if where is None:
        return None
    # A count adds up 1 and 0; a share leaves out what is unknown; a time looks for the newest that is there at all.
    otherwise = NULL if feature.kind == "since_last" else 0
    unknown = 0 if feature.kind == "count" else NULL
    can_be_unknown = any(schema[name].nullable for name in where.columns)
    return InputPlan(
        name=f"{feature.kind} where {where!r}",
        column=None,
        where=where,
        otherwise=otherwise,
        unknown=unknown,
        scale=1,
        nullable=otherwise == NULL or (unknown == NULL and can_be_unknown),
        is_label=False,
    )


def _scale(kind: FieldType) -> int:
    return 1 if isinstance(kind, String) else kind.scale
