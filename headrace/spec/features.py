"""Features: an aggregation over a window of a stream, and views that group them by entity.

Time is drawn to the right; ``q`` is the instant asked for, ``w`` a window's length, ``d`` its delay:

    closed="left"    [q-d-w, q-d)      an event never sees itself (the default)
    closed="right"   (q-d-w, q-d]      an event sees itself
    closed="both"    [q-d-w, q-d]
    closed="neither" (q-d-w, q-d)

Times are whole microseconds, so each of these is the half-open rule "visible from ``enter`` until ``leave``":
an event at ``t`` is in the window iff ``t + enter_us <= q < t + leave_us``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from headrace.errors import DefinitionError
from headrace.spec.durations import format_duration, parse_duration
from headrace.spec.streams import EventStream, LabelledStream, check_name
from headrace.spec.types import Bool, FieldType, Float64, Int64, String

__all__ = ["Aggregation", "Closed", "Feature", "FeatureView", "RequestFeatures", "count", "mean", "sum"]

Closed = Literal["left", "right", "both", "neither"]
Kind = Literal["count", "sum", "mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One aggregation over one window; its name is derived."""

    kind: Kind
    column: str | None
    """Aggregated field; None for ``count``."""
    length_us: int
    delay_us: int
    empty: float | None
    """Value when no (non-null) input is in the window; None is null."""

    @property
    def name(self) -> str:
        """``count_7d``, ``mean_tx_amount_7d``."""
        parts = [self.kind, self.column, format_duration(self.length_us)]
        return "_".join(part for part in parts if part)

    @property
    def value_type(self) -> type[Int64] | type[Float64]:
        """``Int64`` for counts, ``Float64`` otherwise."""
        return Int64 if self.kind == "count" else Float64

    def enter_us(self, closed: Closed) -> int:
        """Offset from an event's time to the first instant it is visible."""
        return self.delay_us + (0 if closed in ("right", "both") else 1)

    def leave_us(self, closed: Closed) -> int:
        """Offset from an event's time to the first instant it is no longer visible."""
        return self.delay_us + self.length_us + (1 if closed in ("left", "both") else 0)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What is computed; ``over`` says over which windows."""

    kind: Kind
    column: str | None = None

    def over(self, *windows: str, delay: str = "0s", empty: float | None = None) -> tuple[Feature, ...]:
        """One feature for each window length.

        Args:
            windows: lengths such as ``"1d"``.
            delay: evaluate at ``q - delay``.
            empty: value of an empty window; the default is 0 for count and sum, null for mean.
        """
        if not windows:
            raise DefinitionError(f"{self.kind}: no window given", hint="write .over('1d', '7d')")
        default = 0.0 if self.kind in ("count", "sum") else None
        if self.kind in ("count", "sum") and empty not in (None, 0, 0.0):
            raise DefinitionError(f"{self.kind}: empty is {empty!r}; nothing counted is 0", hint="leave empty out")
        features = []
        for window in windows:
            length_us = parse_duration(window, field=f"window of {self.kind}({self.column or ''})")
            if length_us <= 0:
                raise DefinitionError(f"{self.kind}: window {window!r} has no length", hint="give at least '1us'")
            features.append(
                Feature(
                    kind=self.kind,
                    column=self.column,
                    length_us=length_us,
                    delay_us=parse_duration(delay, field=f"delay of {self.kind}({self.column or ''})"),
                    empty=default if empty is None else float(empty),
                )
            )
        return tuple(features)


def count() -> Aggregation:
    """Number of events in the window."""
    return Aggregation("count")


def sum(column: str) -> Aggregation:
    """Exact sum of a field; nulls are skipped."""
    return Aggregation("sum", column)


def mean(column: str) -> Aggregation:
    """Exact sum divided by the number of non-null values."""
    return Aggregation("mean", column)


@dataclass(frozen=True, slots=True)
class FeatureView:
    """Windowed features of one entity, in both stores under one name."""

    name: str
    entity: str
    """Field of the source whose values are the entity keys."""
    source: EventStream | LabelledStream
    features: tuple[Feature, ...]
    """Written as a list of ``aggregation.over(...)``; kept flat."""
    closed: Closed = "left"
    ttl: str | None = None
    """A row older than this at the instant asked for is EXPIRED."""
    ttl_us: int | None = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name, what="feature view")
        where = f"view {self.name!r}"
        if not isinstance(self.source, EventStream | LabelledStream):
            raise DefinitionError(f"{where}: source is {self.source!r}", hint="give a stream")
        if self.closed not in get_args(Closed):
            raise DefinitionError(f"{where}: closed is {self.closed!r}", hint=f"use one of {get_args(Closed)}")
        schema = self.source.schema
        kind = schema.get(self.entity)
        if not isinstance(kind, Int64 | String) or kind.nullable:
            raise DefinitionError(
                f"{where}: entity {self.entity!r} is no Int64 or String field of {self.events.name!r}",
                hint=f"fields are {sorted(schema)}",
            )
        flat = tuple(_flatten(self.features, where))
        if not flat:
            raise DefinitionError(f"{where}: no features", hint="give features=[count().over('1d')]")
        for feature in flat:
            column_type: FieldType | None = schema.get(feature.column) if feature.column else Int64()
            if column_type is None or isinstance(column_type, String):
                raise DefinitionError(
                    f"{where}: {feature.kind}({feature.column!r}) needs a number or Bool field",
                    hint=f"fields are {sorted(schema)}",
                )
        names = [feature.name for feature in flat]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DefinitionError(f"{where}: {twice[0]!r} is declared twice", hint="put one of them into another view")
        object.__setattr__(self, "features", flat)
        object.__setattr__(self, "ttl_us", parse_duration(self.ttl, field=f"{where} ttl") if self.ttl else None)

    @property
    def events(self) -> EventStream:
        """The event stream underneath."""
        return self.source.events if isinstance(self.source, LabelledStream) else self.source

    @property
    def feature_names(self) -> tuple[str, ...]:
        """``count_1d``, …, in declared order."""
        return tuple(feature.name for feature in self.features)

    @property
    def full_names(self) -> tuple[str, ...]:
        """``customer_activity__count_1d``, …, Feast's full-name form."""
        return tuple(f"{self.name}__{name}" for name in self.feature_names)

    @property
    def reach_us(self) -> int:
        """How far back from ``q`` any window of the view looks."""
        return max(feature.leave_us(self.closed) for feature in self.features)

    @property
    def includes_own_event(self) -> bool:
        """Whether an event is visible at its own instant in some window."""
        return any(feature.enter_us(self.closed) == 0 for feature in self.features)

    def __hash__(self) -> int:
        return hash(("FeatureView", self.name))


@dataclass(frozen=True, slots=True)
class RequestFeatures:
    """Features computed from the event itself, by one function in training and in serving.

    ``fn`` maps the event's columns (numpy arrays of equal length, time as integer microseconds) to named
    arrays; it is written with arithmetic only, so the same code takes plain numbers.
    """

    name: str
    of: EventStream
    fn: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    feature_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name, what="request features")
        sample: dict[str, Any] = {self.of.time: self.of.earliest_us}
        for name, kind in self.of.schema.items():
            sample[name] = "" if isinstance(kind, String) else False if isinstance(kind, Bool) else kind.scale * 0
        try:
            names = tuple(self.fn(sample))
        except Exception as error:
            raise DefinitionError(
                f"request features {self.name!r}: fn fails on an event of zeros: {error!r}",
                hint="use arithmetic and comparisons on the columns; return a mapping of name to values",
            ) from error
        if not names:
            raise DefinitionError(f"request features {self.name!r}: fn returns no feature")
        object.__setattr__(self, "feature_names", names)

    @property
    def full_names(self) -> tuple[str, ...]:
        """``calendar__weekend``, …"""
        return tuple(f"{self.name}__{name}" for name in self.feature_names)

    def __hash__(self) -> int:
        return hash(("RequestFeatures", self.name))


def _flatten(features: Iterable[Any], where: str) -> Iterable[Feature]:
    for item in features:
        if isinstance(item, Feature):
            yield item
        elif isinstance(item, tuple | list):
            yield from _flatten(item, where)
        else:
            raise DefinitionError(f"{where}: {item!r} is no feature", hint="write count().over('1d', '7d')")
