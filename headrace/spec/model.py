"""A model: its inputs, its label, and the policies that keep it right."""

from dataclasses import dataclass, field

from headrace.errors import DefinitionError
from headrace.spec.features import DerivedFeatures, FeatureView, RequestFeatures
from headrace.spec.policies import Gate, MonitorPolicy, RetrainPolicy, RolloutPolicy, TorchClassifier
from headrace.spec.streams import EventStream, LabelStream, check_name
from headrace.spec.types import String

__all__ = ["Model"]


@dataclass(frozen=True, slots=True)
class Model:
    """A binary classifier over features as of the instant of an event."""

    name: str
    features: tuple[FeatureView | RequestFeatures | DerivedFeatures | str, ...]
    """Views, request features, derived features, and names of event fields used as they are.

    A view may be of another stream than the events that are scored, if they carry its entity's key.
    """
    label: LabelStream
    trainer: TorchClassifier = field(default_factory=TorchClassifier)
    gates: tuple[Gate, ...] = ()
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)
    monitors: MonitorPolicy = field(default_factory=MonitorPolicy)
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)

    def __post_init__(self) -> None:
        check_name(self.name, what="model")
        where = f"model {self.name!r}"
        if not isinstance(self.label, LabelStream):
            raise DefinitionError(f"{where}: label is {self.label!r}", hint="give a LabelStream")
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "gates", tuple(self.gates))
        for item in self.features:
            if isinstance(item, str):
                if item not in self.events.schema or isinstance(self.events.schema[item], String):
                    raise DefinitionError(
                        f"{where}: input {item!r} is no number field of {self.events.name!r}",
                        hint=f"fields are {sorted(self.events.schema)}",
                    )
            elif not isinstance(item, FeatureView | RequestFeatures | DerivedFeatures):
                raise DefinitionError(f"{where}: input {item!r}", hint="give a view, other features or a field name")
            elif isinstance(item, FeatureView) and any(feature.is_list for feature in item.features):
                raise DefinitionError(
                    f"{where}: view {item.name!r} has lists, and inputs are numbers",
                    hint="make numbers of them with DerivedFeatures, and give those",
                )
        for request in self.requests:
            if request.of is not self.events:
                raise DefinitionError(f"{where}: {request.name!r} reads another stream than its label")
        for view in self.views:
            kind = self.events.schema.get(view.entity)
            if view.events is not self.events and type(kind) is not type(view.events.schema[view.entity]):
                raise DefinitionError(
                    f"{where}: view {view.name!r} is keyed by {view.entity!r}, no such field of {self.events.name!r}",
                    hint="events that are scored must carry the key of every view, with the same type",
                )
        if not self.features:
            raise DefinitionError(f"{where}: no features", hint="give at least one view or field")
        names = self.feature_names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DefinitionError(f"{where}: input {twice[0]!r} is given twice", hint="leave one out")
        if self.routing_unit not in self.events.schema:
            raise DefinitionError(
                f"{where}: rollout.unit {self.routing_unit!r} is no field of {self.events.name!r}",
                hint=f"fields are {sorted(self.events.schema)}",
            )

    @property
    def events(self) -> EventStream:
        """The stream whose events are scored."""
        return self.label.of

    @property
    def views(self) -> tuple[FeatureView, ...]:
        """Every view it needs: those whose features are inputs, and those that others are derived from."""
        return tuple(dict.fromkeys(item for item in self._needed if isinstance(item, FeatureView)))

    @property
    def requests(self) -> tuple[RequestFeatures, ...]:
        """Request features it needs, likewise."""
        return tuple(dict.fromkeys(item for item in self._needed if isinstance(item, RequestFeatures)))

    @property
    def derived(self) -> tuple[DerivedFeatures, ...]:
        return tuple(item for item in self.features if isinstance(item, DerivedFeatures))

    @property
    def streams(self) -> tuple[EventStream, ...]:
        """Streams its views read, that of the scored events first."""
        return tuple(dict.fromkeys((self.events, *(view.events for view in self.views))))

    @property
    def _needed(self) -> tuple[FeatureView | RequestFeatures, ...]:
        given = [item for item in self.features if isinstance(item, FeatureView | RequestFeatures)]
        return (*given, *(item for derived in self.derived for item in derived.of))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the model's inputs in order, views and request features in full-name form."""
        return tuple(name for item in self.features for name in ((item,) if isinstance(item, str) else item.full_names))

    @property
    def routing_unit(self) -> str:
        """Event field that is routed as one."""
        return self.rollout.unit or self.events.key

    def __hash__(self) -> int:
        return hash(("Model", self.name))
