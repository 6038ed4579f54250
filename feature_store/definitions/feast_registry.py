"""A project's definitions as Feast objects: what would change, and the change.

    views       ──► FeatureView over the feature log, online in Redis     tag headrace.definition = fingerprint
    entities    ──► Entity
    models      ──► FeatureService of the model's views

Importing this file imports Feast, which takes seconds; only commands do it, never the stream or a server.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import feature_store.definitions.feast_torch  # noqa: F401  # before Feast, which would import torch

# isort: split
from feast import Entity, FeatureService, FeatureStore, Field, FileSource, RepoConfig, ValueType
from feast import FeatureView as FeastView
from feast.data_format import ParquetFormat
from feast.types import Array
from feast.types import Float64 as FeastFloat64
from feast.types import Int64 as FeastInt64
from feast.types import String as FeastString

from feature_store.offline.offline_log import log_folder
from feature_store.offline_tables import CREATED, EVENT_TIMESTAMP
from headrace.config import Settings
from headrace.errors import ConfigError, DefinitionError
from headrace.spec.features import Feature, FeatureView
from headrace.spec.model import Model
from headrace.spec.project import Project, fingerprint
from headrace.spec.types import Int64, String

__all__ = ["Change", "FeastRegistry", "open_feast"]

_DEFINITION = "headrace.definition"
"""Tag: fingerprint of the definition an object was made of."""
_LAYOUT = "1"
"""Raise it when the same definition is to be registered in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What registering would do to one object."""

    kind: str
    """``entity``, ``view`` or ``service``."""
    name: str
    change: str
    """``new``, ``changed``, ``unchanged``, or ``undefined``: registered, but no longer defined; it is left alone."""
    detail: str = ""


def open_feast(settings: Settings, project_name: str) -> FeatureStore:
    """Feast's own client of our stores: ``get_online_features`` and ``get_historical_features`` work on it.

    Raises:
        ConfigError: the Redis address cannot be written in Feast's form.
    """
    settings.registry_path.parent.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project=project_name,
        provider="local",
        registry={"registry_type": "file", "path": str(settings.registry_path)},
        online_store={"type": "redis", "connection_string": _connection_string(settings.redis.url)},
        offline_store={"type": "feature_store.offline.feast_offline.HeadraceOfflineStore"},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


class FeastRegistry:
    """The registered objects of one project."""

    def __init__(self, settings: Settings, project: Project) -> None:
        self._settings = settings
        self._project = project
        self._store = open_feast(settings, project.name)
        entities = _entities(project)
        views = {view.name: self._view(view, entities[view.entity]) for view in project.views}
        services = [_service(model, views) for model in project.models if model.views]
        self._defined: dict[tuple[str, str], Any] = {
            **{("entity", entity.name): entity for entity in entities.values()},
            **{("view", view.name): view for view in views.values()},
            **{("service", service.name): service for service in services},
        }

    def plan(self) -> list[Change]:
        """What :meth:`apply` would do, object by object."""
        registered = self._registered()
        changes = []
        for (kind, name), wanted in self._defined.items():
            known = registered.pop((kind, name), None)
            if known is None:
                changes.append(Change(kind=kind, name=name, change="new"))
            elif known.tags.get(_DEFINITION) == wanted.tags[_DEFINITION]:
                changes.append(Change(kind=kind, name=name, change="unchanged"))
            else:
                changes.append(Change(kind=kind, name=name, change="changed", detail=_difference(known, wanted)))
        changes += [
            Change(kind=kind, name=name, change="undefined", detail="left as it is")
            for (kind, name), known in registered.items()
            if _DEFINITION in known.tags
        ]
        return changes

    def apply(self) -> list[Change]:
        """Register what is new or changed; returns the plan it carried out. Doing it again changes nothing."""
        changes = self.plan()
        touched = [self._defined[change.kind, change.name] for change in changes if change.change in ("new", "changed")]
        if touched:
            self._store.apply(touched)
        return changes

    def _registered(self) -> dict[tuple[str, str], Any]:
        self._store.refresh_registry()
        return {
            **{("entity", item.name): item for item in self._store.list_entities()},
            **{("view", item.name): item for item in self._store.list_feature_views()},
            **{("service", item.name): item for item in self._store.list_feature_services()},
        }

    def _view(self, view: FeatureView, entity: Entity) -> FeastView:
        path = log_folder(self._settings.offline_dir, self._project.name, "features", view.name)
        key = FeastString if isinstance(view.source.schema[view.entity], String) else FeastInt64
        values = [Field(name=feature.name, dtype=_feast_type(feature)) for feature in view.features]
        return FeastView(
            name=view.name,
            entities=[entity],
            ttl=timedelta(microseconds=view.ttl_us or 0),
            schema=[Field(name=view.entity, dtype=key), *values],
            source=FileSource(
                name=f"{view.name}_log",
                path=str(path),
                file_format=ParquetFormat(),  # without it a folder cannot be read
                timestamp_field=EVENT_TIMESTAMP,
                created_timestamp_column=CREATED,
            ),
            online=True,
            tags={_DEFINITION: fingerprint(view, str(path), _LAYOUT)},
        )


def _feast_type(feature: Feature) -> Any:
    number = FeastInt64 if feature.value_type is Int64 else FeastFloat64
    return Array(number) if feature.is_list else number


def _entities(project: Project) -> dict[str, Entity]:
    types: dict[str, ValueType] = {}
    for view in project.views:
        kind = ValueType.STRING if isinstance(view.source.schema[view.entity], String) else ValueType.INT64
        if types.setdefault(view.entity, kind) != kind:
            raise DefinitionError(
                f"entity {view.entity!r} has integer keys in one view and texts in {view.name!r}",
                hint="give the field one type in every stream, or two names",
            )
    return {
        name: Entity(
            name=name, join_keys=[name], value_type=kind, tags={_DEFINITION: fingerprint(name, kind.name, _LAYOUT)}
        )
        for name, kind in types.items()
    }


def _service(model: Model, views: dict[str, FeastView]) -> FeatureService:
    definitions = [views[view.name].tags[_DEFINITION] for view in model.views]
    return FeatureService(
        name=model.name,
        features=[views[view.name] for view in model.views],
        tags={_DEFINITION: fingerprint(model.name, definitions, _LAYOUT)},
    )


def _difference(known: Any, wanted: Any) -> str:
    """Which features came and went, where that is what changed."""
    if not isinstance(wanted, FeastView):
        return ""
    before, after = ({field.name for field in view.features} for view in (known, wanted))
    parts = [f"+{name}" for name in sorted(after - before)] + [f"-{name}" for name in sorted(before - after)]
    return " ".join(parts) or "definition or place"


def _connection_string(url: str) -> str:
    """``redis://user:word@host:6379/0`` as Feast writes it: ``host:6379,db=0,username="user",password="word"``."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ConfigError("redis.url cannot be used with Feast", hint="write redis://host:port/0")
    options: dict[str, object] = {"db": int(parts.path.strip("/") or 0)}
    # Quoted as JSON, or Feast would read a password of digits as a number.
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            options[name] = json.dumps(unquote(value))
    if parts.scheme == "rediss":
        options["ssl"] = "true"
    options.update(parse_qsl(parts.query))
    if any("," in str(value) for value in options.values()):
        raise ConfigError("redis.url has a comma in it, which Feast takes for the end of an option")
    return ",".join([f"{parts.hostname}:{parts.port or 6379}", *(f"{name}={value}" for name, value in options.items())])
