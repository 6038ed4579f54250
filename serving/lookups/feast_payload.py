"""Feast's own request of ``POST /get-online-features``, read without Feast.

Format: ``feast.feature_server.GetOnlineFeaturesRequest`` of 0.67. Two answers are more honest than Feast's: a key never
seen is NOT_FOUND (Feast's Redis store says PRESENT), and a row past its ttl is OUTSIDE_MAX_AGE (Feast does not look).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.types import Int64, String
from serving.http.json_body import check_depth, count_members, read_json
from serving.http.request_error import RequestError
from serving.lookups.feast_answer import FeatureShape
from serving.request_event import read_key

__all__ = ["FeastPayload", "FeatureQuery"]

_MOST_SHAPES = 256
"""Combinations of features that are remembered; what a client writes freely is bounded."""


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a request. Features stay bytes: those of a known shape need not be looked at again."""

    features: msgspec.Raw = msgspec.Raw()
    feature_service: msgspec.Raw = msgspec.Raw()
    entities: dict[str, list[Any]] | msgspec.UnsetType = msgspec.UNSET
    full_feature_names: bool | msgspec.UnsetType = msgspec.UNSET
    include_feature_view_version_metadata: bool | msgspec.UnsetType = msgspec.UNSET

    def count(self) -> int:
        """How many different fields it has, those of the entities included."""
        rest = (self.entities, self.full_feature_names, self.include_feature_view_version_metadata)
        given = len(rest) - rest.count(msgspec.UNSET) + bool(self.features) + bool(self.feature_service)
        return given + (0 if self.entities is msgspec.UNSET else len(self.entities))


_KNOWN = frozenset(_Request.__struct_fields__)
_decode = msgspec.json.Decoder(_Request).decode


@dataclass(frozen=True, slots=True)
class FeatureQuery:
    """A checked request."""

    shape: FeatureShape
    entities: Mapping[str, Sequence[int | str]]
    """Join key -> keys, all of one length."""

    def commands(self) -> list[bytes]:
        """What to ask the online store."""
        return self.shape.lookup.commands(self.entities)

    def answer(self, replies: Sequence[Sequence[bytes | None]]) -> bytes:
        """The answer, from the replies to ``commands``."""
        return self.shape.answer(self.entities, replies)


class FeastPayload:
    """Reads the requests of one project; a model's name is a feature service.

    Args:
        project: its views and models.
        max_batch: most rows of one request.
        max_depth: how deep a body may be nested.
    """

    def __init__(self, project: Project, max_batch: int, *, max_depth: int) -> None:
        self._project = project.name
        self._views = {view.name: view for view in project.views}
        self._requests = {item.name for item in project.requests}
        self._services = {
            model.name: [f"{view.name}:{name}" for view in model.views for name in view.feature_names]
            for model in project.models
        }
        self._keys = {view.entity: _key_type(view) for view in project.views}
        self._max_batch, self._max_depth = max_batch, max_depth
        self._shapes: dict[tuple[bytes, bytes, bool, bool], FeatureShape] = {}

    def examples(self) -> list[bytes]:
        """A body for each view that asks for all its features of one numbered key, whether it has such keys or not."""
        return [
            msgspec.json.encode(
                {"features": [f"{view.name}:{name}" for name in view.feature_names], "entities": {view.entity: [0]}}
            )
            for view in self._views.values()
        ]

    def read(self, body: bytes) -> FeatureQuery:
        """Check a request.

        Raises:
            RequestError: names the field.
        """
        check_depth(body, self._max_depth)
        try:
            request = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._check(read_json(body, max_depth=self._max_depth))  # which says what is wrong
        wanted = (
            bytes(request.features),
            bytes(request.feature_service),
            request.full_feature_names is True,
            request.include_feature_view_version_metadata is True,
        )
        shape = self._shapes.get(wanted)
        # A known shape's features are texts, so every field there is stands in the request or its entities. What has
        # more, one twice or some among its keys, is looked at in full.
        if shape is not None and count_members(body) == request.count():
            return FeatureQuery(shape, self._entities(request.entities, shape))
        query = self._check(read_json(body, max_depth=self._max_depth))
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        self._shapes[wanted] = query.shape
        return query

    def _check(self, payload: object) -> FeatureQuery:
        if not isinstance(payload, dict):
            raise RequestError("", "the body is no JSON object", hint=f"fields are {sorted(_KNOWN)}")
        for name in payload:
            if name not in _KNOWN:
                raise RequestError(name, "is no field of this request", hint=f"fields are {sorted(_KNOWN)}")
        full = _flag(payload, "full_feature_names")
        columns = self._columns(self._references(payload), full=full)
        views = tuple(dict.fromkeys(self._views[view] for _, view, _ in columns))
        with_versions = _flag(payload, "include_feature_view_version_metadata")
        shape = FeatureShape(columns, views, self._project, with_versions=with_versions)
        return FeatureQuery(shape, self._entities(payload.get("entities"), shape))

    def _references(self, payload: Mapping[str, Any]) -> list[str]:
        service, features = payload.get("feature_service"), payload.get("features")
        if service is not None:
            if features is not None and features != []:
                raise RequestError("features", "stands beside feature_service", hint="give one of the two")
            if not isinstance(service, str) or service not in self._services:
                raise RequestError(
                    "feature_service", f"{service!r} is unknown", hint=f"known are {sorted(self._services)}", status=404
                )
            return self._services[service]
        if not isinstance(features, list) or not features:
            raise RequestError("features", "is missing", hint='give a list such as ["view:feature"]')
        return features

    def _columns(self, references: Sequence[object], *, full: bool) -> tuple[tuple[str, str, str], ...]:
        columns, names = [], set()
        for number, reference in enumerate(references):
            where = f"features[{number}]"
            view_name, colon, feature = reference.partition(":") if isinstance(reference, str) else ("", "", "")
            if not colon:
                raise RequestError(where, f"{reference!r} is no reference", hint='write "view:feature"')
            view = self._views.get(view_name)
            if view is None and view_name in self._requests:
                raise RequestError(
                    where, f"{view_name!r} is computed from an event", hint="ask POST /predict/<model> with the event"
                )
            if view is None:
                raise RequestError(where, f"view {view_name!r} is unknown", hint=f"known are {sorted(self._views)}")
            if feature not in view.feature_names:
                raise RequestError(
                    where, f"view {view_name!r} has no feature {feature!r}", hint=f"it has {list(view.feature_names)}"
                )
            name = f"{view_name}__{feature}" if full else feature
            if name in names:
                raise RequestError(where, f"{name!r} is asked for twice", hint="set full_feature_names to true")
            names.add(name)
            columns.append((name, view_name, feature))
        return tuple(columns)

    def _entities(self, given: object, shape: FeatureShape) -> dict[str, list[int | str]]:
        if not isinstance(given, dict) or not given:
            raise RequestError("entities", "is missing", hint='give an object such as {"customer_id": [1, 2]}')
        entities: dict[str, list[int | str]] = {}
        size: int | None = None
        for name, keys in given.items():
            where = f"entities.{name}"
            kind = self._keys.get(name)
            if kind is None:
                raise RequestError(where, "is no entity", hint=f"entities are {sorted(self._keys)}")
            if not isinstance(keys, list):
                raise RequestError(where, "is no array", hint="give one key for each row")
            if len(keys) > self._max_batch:
                raise RequestError(
                    where, f"has {len(keys)} keys; at most {self._max_batch} are answered at once", status=413
                )
            if size is not None and len(keys) != size:
                raise RequestError(
                    where, f"has {len(keys)} keys, another entity has {size}", hint="give one key of each for a row"
                )
            size = len(keys)
            entities[name] = [read_key(kind, key, where, row) for row, key in enumerate(keys)]
        for name in sorted(shape.entities - entities.keys()):
            raise RequestError(
                f"entities.{name}", "is missing; the features asked for need it", hint="give its keys beside the others"
            )
        if not size:
            raise RequestError(
                "entities", "has no keys", hint='give one or more of each entity, such as {"customer_id": [1]}'
            )
        return entities


def _key_type(view: FeatureView) -> Int64 | String:
    kind = view.events.schema[view.entity]
    assert isinstance(kind, Int64 | String)
    return kind


def _flag(payload: Mapping[str, Any], name: str) -> bool:
    value = payload.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(name, f"is {value!r}; give true or false")
    return value
