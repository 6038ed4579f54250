"""A view as plain values that can be written down and compared with the view of another day."""

from dataclasses import dataclass, field

from headrace.spec.features import Feature, FeatureView
from headrace.spec.project import Project, fingerprint
from headrace.spec.streams import LabelledStream
from headrace.spec.types import FieldType, Float64, String

__all__ = [
    "NO_ID",
    "FeatureDefinition",
    "FieldDefinition",
    "ViewDefinition",
    "describe_view",
    "describe_views",
    "readers_of",
]

NO_ID = "(the place in Kafka)"
"""Stands for the field of the id where producers write none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDefinition:
    """One field of the stream."""

    type: str
    """With its resolution, which decides what its steps mean."""
    nullable: bool
    max_bytes: int = 0
    """Of a text."""

    def __str__(self) -> str:
        bound = f" of at most {self.max_bytes} bytes" if self.max_bytes else ""
        return f"{'nullable ' if self.nullable else ''}{self.type}{bound}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureDefinition:
    """One feature by content."""

    name: str
    content: str
    """Fingerprint of aggregation, window, delay and value of an empty window."""
    type: str
    """``Int64``, ``Float64`` or a list of one, as both stores hold it."""
    columns: tuple[str, ...]
    """Fields it looks at, those of its condition included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewDefinition:
    """One view, and what it reads of its stream."""

    name: str
    version: str
    """Fingerprint of the whole definition, as snapshots and rows carry it."""
    entity: str
    closed: str
    ttl_us: int | None
    stream: str
    """Topic of its events."""
    time: str
    id: str
    """Its field; of a stream without one a word that is no field."""
    lateness_us: int
    labels: str
    """Topic of its labels; empty when it looks at none."""
    label_value: str
    label_delay_us: int
    accepts: str
    """Format, earliest and farthest time: which messages become events."""
    features: tuple[FeatureDefinition, ...]
    fields: dict[str, FieldDefinition] = field(default_factory=dict)
    """Every field of the stream by name."""

    @property
    def used(self) -> set[str]:
        """Fields whose values reach a feature or name a row."""
        return {self.entity, self.id, *(name for feature in self.features for name in feature.columns)}


def describe_view(view: FeatureView) -> ViewDefinition:
    """What is written down of a view."""
    stream = view.events
    labels = view.source.labels if isinstance(view.source, LabelledStream) else None
    return ViewDefinition(
        name=view.name,
        version=fingerprint(view),
        entity=view.entity,
        closed=view.closed,
        ttl_us=view.ttl_us,
        stream=stream.name,
        time=stream.time,
        id=stream.id if stream.has_id else NO_ID,
        lateness_us=stream.lateness_us,
        labels=labels.name if labels else "",
        label_value=labels.value if labels else "",
        label_delay_us=labels.delay_us if labels else 0,
        accepts=f"{stream.format!r}, from {stream.earliest} on, at most {stream.future} ahead",
        features=tuple(_describe(feature) for feature in view.features),
        fields={name: _describe_field(kind) for name, kind in sorted(stream.published.items())},
    )


def describe_views(project: Project) -> dict[str, ViewDefinition]:
    """Every view of a project by name."""
    return {view.name: describe_view(view) for view in project.views}


def readers_of(project: Project) -> dict[str, tuple[str, ...]]:
    """View -> models that need its features, all of them, as inputs or to derive inputs from."""
    found: dict[str, tuple[str, ...]] = {}
    for model in project.models:
        for view in model.views:
            found[view.name] = (*found.get(view.name, ()), model.name)
    return found


def _describe_field(kind: FieldType) -> FieldDefinition:
    name = type(kind).__name__
    return FieldDefinition(
        type=f"{name} in steps of 1/{kind.scale}" if isinstance(kind, Float64) else name,
        nullable=kind.nullable,
        max_bytes=kind.max_bytes if isinstance(kind, String) else 0,
    )


def _describe(feature: Feature) -> FeatureDefinition:
    where = feature.aggregation.where
    own = () if feature.column is None else (feature.column,)
    kind = feature.value_type.__name__
    return FeatureDefinition(
        name=feature.name,
        content=fingerprint(feature),
        type=f"{kind}[{feature.width}]" if feature.is_list else kind,
        columns=tuple(dict.fromkeys((*own, *(() if where is None else where.columns)))),
    )
