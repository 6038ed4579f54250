"""Feast's own request and answer of ``POST /get-online-features``, read and written without Feast.

Format: ``feast.feature_server.GetOnlineFeaturesRequest`` and ``convert_response_to_dict`` of 0.67. Two answers are more
honest than Feast's: a key never seen is NOT_FOUND (Feast's Redis store says PRESENT), and a row past its ttl is
OUTSIDE_MAX_AGE (Feast does not look).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.types import Int64, String
from serving.request_error import RequestError
from serving.request_event import read_key

__all__ = ["FeastPayload", "FeatureQuery", "StoredRow", "feast_timestamp"]

_KNOWN = frozenset(
    {"features", "feature_service", "entities", "full_feature_names", "include_feature_view_version_metadata"}
)
_STATUS = {"PRESENT": "PRESENT", "NOT_FOUND": "NOT_FOUND", "EXPIRED": "OUTSIDE_MAX_AGE", "STALE": "OUTSIDE_MAX_AGE"}
_NEVER = "1970-01-01T00:00:00Z"


class StoredRow(Protocol):
    """What a lookup answers for one view of one key."""

    @property
    def status(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float | int | list[float | int] | None]: ...
    @property
    def event_time_us(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureQuery:
    """A checked request."""

    columns: tuple[tuple[str, str, str], ...]
    """Name in the answer, view, feature."""
    views: tuple[FeatureView, ...]
    entities: Mapping[str, Sequence[int | str]]
    """Join key -> keys, all of one length."""
    with_versions: bool

    @property
    def rows(self) -> list[dict[str, int | str]]:
        """One mapping of join key to key for each row of the answer."""
        names = tuple(self.entities)
        return [dict(zip(names, keys, strict=True)) for keys in zip(*self.entities.values(), strict=True)]


class FeastPayload:
    """Reads and answers the requests of one project; a model's name is a feature service.

    Args:
        project: its views and models.
        max_batch: most rows of one request.
    """

    def __init__(self, project: Project, max_batch: int) -> None:
        self._views = {view.name: view for view in project.views}
        self._requests = {item.name for item in project.requests}
        self._services = {
            model.name: [f"{view.name}:{name}" for view in model.views for name in view.feature_names]
            for model in project.models
        }
        self._keys = {view.entity: _key_type(view) for view in project.views}
        self._max_batch = max_batch

    def read(self, payload: object) -> FeatureQuery:
        """Check a decoded request.

        Raises:
            RequestError: names the field.
        """
        if not isinstance(payload, dict):
            raise RequestError("", "the body is no JSON object")
        for name in payload:
            if name not in _KNOWN:
                raise RequestError(name, "is no field of this request", hint=f"fields are {sorted(_KNOWN)}")
        full = _flag(payload, "full_feature_names")
        columns = self._columns(self._references(payload), full=full)
        views = tuple(dict.fromkeys(self._views[view] for _, view, _ in columns))
        return FeatureQuery(
            columns=columns,
            views=views,
            entities=self._entities(payload.get("entities"), views),
            with_versions=_flag(payload, "include_feature_view_version_metadata"),
        )

    def answer(self, query: FeatureQuery, rows: Sequence[Mapping[str, StoredRow]]) -> dict[str, Any]:
        """Feast's answer: the join keys, then the features, each with one value per row."""
        results: list[dict[str, Any]] = [
            {"values": list(keys), "statuses": ["PRESENT"] * len(keys), "event_timestamps": [_NEVER] * len(keys)}
            for keys in query.entities.values()
        ]
        statuses, times = {}, {}
        for name in (view.name for view in query.views):
            found = [row[name] for row in rows]
            statuses[name] = [_STATUS[row.status] for row in found]
            times[name] = [feast_timestamp(row.event_time_us) for row in found]
        for _, view, feature in query.columns:
            values = [row[view].values[feature] for row in rows]
            results.append({"values": values, "statuses": statuses[view], "event_timestamps": times[view]})
        metadata: dict[str, Any] = {"feature_names": [*query.entities, *(name for name, _, _ in query.columns)]}
        if query.with_versions:
            metadata["feature_view_metadata"] = [{"name": view.name} for view in query.views]
        return {"metadata": metadata, "results": results}

    def _references(self, payload: Mapping[str, Any]) -> list[str]:
        service, features = payload.get("feature_service"), payload.get("features")
        if service is not None:
            if features:
                raise RequestError("features", "stands beside feature_service", hint="give one of the two")
            if service not in self._services:
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

    def _entities(self, given: object, views: Sequence[FeatureView]) -> dict[str, list[int | str]]:
        if not isinstance(given, dict) or not given:
            raise RequestError("entities", "is missing", hint='give an object such as {"customer_id": [1, 2]}')
        needed = {view.entity for view in views}
        entities: dict[str, list[int | str]] = {}
        size: int | None = None
        for name, keys in given.items():
            where = f"entities.{name}"
            if name not in self._keys:
                raise RequestError(where, "is no entity", hint=f"entities are {sorted(self._keys)}")
            if not isinstance(keys, list):
                raise RequestError(where, "is no array", hint="give one key for each row")
            if len(keys) > self._max_batch:
                raise RequestError(
                    where, f"has {len(keys)} keys; at most {self._max_batch} are answered at once", status=413
                )
            if size is not None and len(keys) != size:
                raise RequestError(where, f"has {len(keys)} keys, another entity has {size}")
            size = len(keys)
            kind = self._keys[name]
            entities[name] = [read_key(kind, key, f"{where}[{row}]") for row, key in enumerate(keys)]
        for name in sorted(needed - entities.keys()):
            raise RequestError(f"entities.{name}", "is missing; the features asked for need it")
        if not size:
            raise RequestError("entities", "has no keys")
        return entities


def feast_timestamp(instant_us: int | None) -> str:
    """RFC 3339 with as many decimals as needed, in threes, as protobuf writes it.

    >>> feast_timestamp(1_522_540_800_500_000), feast_timestamp(None)
    ('2018-04-01T00:00:00.500Z', '1970-01-01T00:00:00Z')
    """
    if not instant_us:
        return _NEVER
    seconds, micros = divmod(instant_us, 1_000_000)
    text = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if not micros:
        return text + "Z"
    return f"{text}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{text}.{micros:06d}Z"


def _key_type(view: FeatureView) -> Int64 | String:
    kind = view.events.schema[view.entity]
    assert isinstance(kind, Int64 | String)
    return kind


def _flag(payload: Mapping[str, Any], name: str) -> bool:
    value = payload.get(name, False)
    if not isinstance(value, bool):
        raise RequestError(name, f"is {value!r}; give true or false")
    return value
