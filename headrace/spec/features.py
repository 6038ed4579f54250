"""Feature views, which group features by entity, and features computed from an event or from other features."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from headrace.errors import DefinitionError
from headrace.spec.aggregations import Feature
from headrace.spec.durations import parse_duration
from headrace.spec.streams import EventStream, LabelledStream, check_name
from headrace.spec.types import Bool, FieldType, Int64, String
from headrace.spec.windows import Closed

__all__ = ["DerivedFeatures", "Feature", "FeatureView", "RequestFeatures"]


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
        schema = self.source.visible
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
            self._check_feature(feature, schema, where)
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
        """How far back from ``q`` any feature of the view looks at single events."""
        return max(feature.reach_us(self.closed) for feature in self.features)

    @property
    def has_lifetime(self) -> bool:
        """Whether some feature counts from the beginning of the stream on."""
        return any(feature.window.kind == "lifetime" for feature in self.features)

    def _check_feature(self, feature: Feature, schema: Mapping[str, FieldType], where: str) -> None:
        what = f"{where}: {feature.kind}({feature.column or ''})"
        if feature.column is not None:
            kind = schema.get(feature.column)
            if kind is None or (isinstance(kind, String) and not feature.takes_texts):
                raise DefinitionError(
                    f"{where}: {feature.kind}({feature.column!r}) needs a number or Bool field",
                    hint=f"fields are {sorted(schema)}",
                )
        condition = feature.aggregation.where
        if condition is None:
            return
        condition.check(self.events.visible, where=what)
        if feature.column is not None and feature.column not in self.events.schema:
            raise DefinitionError(f"{what}: a label has no where", hint="make a view of its own for those events")

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
        for name, kind in self.of.published.items():
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


@dataclass(frozen=True, slots=True)
class DerivedFeatures:
    """Features computed from other features, by one function in training and in serving.

    ``fn`` maps the full names of everything in ``of`` to float64 arrays of equal length (null is NaN, a list an array
    of two dimensions) and returns named arrays; it looks at nothing else and at each row alone.
    """

    name: str
    of: tuple["FeatureView | RequestFeatures", ...]
    """Views and request features of one event; of any number of streams and entities."""
    fn: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    feature_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name, what="derived features")
        object.__setattr__(self, "of", tuple(self.of))
        where = f"derived features {self.name!r}"
        for item in self.of:
            if not isinstance(item, FeatureView | RequestFeatures):
                raise DefinitionError(f"{where}: of has {item!r}", hint="give views and request features")
        if not self.of:
            raise DefinitionError(f"{where}: of is empty", hint="give the views they are computed from")
        import numpy as np  # a definition of this kind computes with arrays anyway

        try:
            with np.errstate(all="ignore"):
                names = tuple(self.fn(self._sample()))
        except Exception as error:
            raise DefinitionError(
                f"{where}: fn fails on a row of zeros: {error!r}",
                hint="use arithmetic on the arrays, by full name; return a mapping of name to values",
            ) from error
        if not names:
            raise DefinitionError(f"{where}: fn returns no feature")
        object.__setattr__(self, "feature_names", names)

    @property
    def full_names(self) -> tuple[str, ...]:
        """``ratios__spend_1d_of_7d``, …"""
        return tuple(f"{self.name}__{name}" for name in self.feature_names)

    def _sample(self) -> dict[str, Any]:
        import numpy as np  # as above

        row: dict[str, Any] = {}
        for item in self.of:
            widths = [f.width if f.is_list else 0 for f in item.features] if isinstance(item, FeatureView) else None
            for place, name in enumerate(item.full_names):
                width = widths[place] if widths else 0
                row[name] = np.zeros((1, width) if width else 1)
        return row

    def __hash__(self) -> int:
        return hash(("DerivedFeatures", self.name))


def _flatten(features: Iterable[Any], where: str) -> Iterable[Feature]:
    for item in features:
        if isinstance(item, Feature):
            yield item
        elif isinstance(item, tuple | list):
            yield from _flatten(item, where)
        else:
            raise DefinitionError(f"{where}: {item!r} is no feature", hint="write count().over('1d', '7d')")
