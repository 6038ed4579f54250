"""The description of the HTTP surface in OpenAPI 3.1, made from a project: entities, features, models and events."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.spec.features import FeatureView
from headrace.spec.model import Model
from headrace.spec.project import Project
from headrace.spec.streams import EventStream
from headrace.spec.types import Bool, FieldType, Int64, String

__all__ = ["describe_api"]

Schema = dict[str, Any]
_INT64: Schema = {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1}
_EXACT = " Written with a point or an exponent, it must be whole and below 2**53, from where that is not exact."
_UTF8_CLASSES = {1: "\\u0000-\\u007f", 2: "\\u0000-\\u07ff", 3: "\\u0000-\\ud7ff\\ue000-\\uffff"}
"""Bytes of UTF-8 -> characters that take no more."""
_JSON = "application/json"
_ERRORS = {
    400: "The request cannot be read, or has a field twice; ``field`` names where.",
    404: "No such model or feature service.",
    405: "The path has no such method; the header Allow names those it has.",
    413: "The body or the batch is too large.",
    431: "The head of the request is too large.",
    500: "A failure of the server, or damaged data in the online store.",
    503: "The online store is away, or no version of the model can answer yet.",
}


def describe_api(project: Project, *, version: str, max_batch: int) -> Schema:
    """The document.

    Args:
        project: what is served.
        version: version of the server.
        max_batch: most keys or events of one request.
    """
    paths: Schema = {
        "/get-online-features": {"post": _features(project, max_batch)},
        "/models": {"get": _plain("Every model, its rollout record and its loaded versions.")},
        "/health": {"get": _plain("Whether the process answers.")},
        "/ready": {"get": _ready()},
        "/metrics": {"get": _operation("Counters for Prometheus.", {"text/plain": {"schema": {"type": "string"}}})},
        "/openapi.json": {"get": _plain("This document.")},
    }
    for model in project.models:
        paths[f"/predict/{model.name}"] = {"post": _predict(model, max_batch)}
        paths[f"/models/{model.name}"] = {"get": _plain(f"The rollout record and loaded versions of {model.name}.")}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"headrace: {project.name}", "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": _error(), "Prediction": _prediction()}},
    }


def _features(project: Project, max_batch: int) -> Schema:
    keys = {view.entity: _key(view, max_batch) for view in project.views}
    names = [f"{view.name}:{name}" for view in project.views for name in view.feature_names]
    services = [model.name for model in project.models]
    rest = {
        "entities": {**_object(keys), "minProperties": 1},
        "full_feature_names": {"type": "boolean", "default": False},
        "include_feature_view_version_metadata": {"type": "boolean", "default": False},
    }
    listed = {"type": "array", "minItems": 1, "uniqueItems": True, "items": _choice(names)}
    # Feast's own clients send null for the one they do not ask by.
    by_name: Schema = {"features": listed, "feature_service": {"type": "null"}}
    by_service: Schema = {"feature_service": _choice(services), "features": {"anyOf": [{"type": "null"}, _no_items()]}}
    request = {
        "anyOf": [
            _object({**by_name, **rest}, ["features", "entities"]),
            _object({**by_service, **rest}, ["feature_service", "entities"]),
        ]
    }
    text_list, anything = {"type": "array", "items": {"type": "string"}}, {"type": "array", "items": {}}
    result = _object({"values": anything, "statuses": text_list, "event_timestamps": text_list}, ...)
    views = {"type": "array", "items": _object({"name": {"type": "string"}}, ...)}
    metadata = _object({"feature_names": text_list, "feature_view_metadata": views}, ["feature_names"])
    answer = _object({"metadata": metadata, "results": {"type": "array", "items": result}}, ...)
    return _asked(
        "Feature values as Feast's own server answers them; give features or feature_service.",
        request,
        answer,
        (404, 503),
    )


def _predict(model: Model, max_batch: int) -> Schema:
    event = _event(model.events)
    forms = [
        _object({"event": event}, ...),
        _object({"events": {"type": "array", "minItems": 1, "maxItems": max_batch, "items": event}}, ...),
        event,
    ]
    one: Schema = {"$ref": "#/components/schemas/Prediction"}
    many = _object({"predictions": {"type": "array", "items": one}}, ...)
    return _asked(
        f"Scores of {model.name} for one event or several, with the features they were made from.",
        {"anyOf": forms},
        {"anyOf": [one, many]},
        (503,),
    )


def _event(stream: EventStream) -> Schema:
    properties = {name: _field(kind) for name, kind in stream.schema.items()}
    properties[stream.time] = {
        "description": "ISO 8601 with an offset, or whole microseconds since the epoch",
        "anyOf": [{"type": "string", "format": "date-time"}, {**_INT64, "minimum": stream.earliest_us}],
    }
    return _object(properties, [*(name for name, kind in stream.schema.items() if not kind.nullable), stream.time])


def _field(kind: FieldType) -> Schema:
    if isinstance(kind, Int64):
        made: Schema = {**_INT64, "description": f"64 bits.{_EXACT}"}
    elif isinstance(kind, Bool):
        made = {"type": "boolean"}
    elif isinstance(kind, String):
        made = _text(kind.max_bytes)
    else:
        bound = (2**53 - 1) / kind.scale
        made = {"type": "number", "minimum": -bound, "maximum": bound}
    return {"anyOf": [made, {"type": "null"}]} if kind.nullable else made


def _text(max_bytes: int) -> Schema:
    """A text of so many bytes, of which JSON Schema cannot speak: it counts characters."""
    forms: list[Schema] = [
        {"maxLength": max_bytes // size, "pattern": f"^[{characters}]*$"} for size, characters in _UTF8_CLASSES.items()
    ]
    return {
        "type": "string",
        "maxLength": max_bytes,
        "description": f"At most {max_bytes} bytes of UTF-8, also where widths of characters are mixed.",
        "anyOf": [*forms, {"maxLength": max_bytes // 4}],
    }


def _key(view: FeatureView, max_batch: int) -> Schema:
    kind = view.events.schema[view.entity]
    return {"type": "array", "minItems": 1, "maxItems": max_batch, "items": _field(kind)}


def _prediction() -> Schema:
    text: Schema = {"type": "string"}
    return _object(
        {
            "prediction_id": text,
            "model": text,
            "version": text,
            "stage": text,
            "epoch": {"type": "integer"},
            "score": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "flagged": {"type": "boolean"},
            "fallback": {"type": "string", "description": "Why there is no score; empty when there is one"},
            "features": {"type": "object"},
            "views": {"type": "object"},
        },
        ...,
    )


def _error() -> Schema:
    texts: Schema = {name: {"type": "string"} for name in ("field", "message", "hint")}
    return _object({"error": _object(texts, ...)}, ...)


def _object(properties: Mapping[str, Schema], required: Sequence[str] | Any = ()) -> Schema:
    """An object with no other properties; ``...`` for required means all."""
    names = list(properties) if required is ... else list(required)
    return {"type": "object", "properties": dict(properties), "required": names, "additionalProperties": False}


def _choice(names: Sequence[str]) -> Schema:
    return {"type": "string", "enum": list(names)} if names else {"type": "string"}


def _no_items() -> Schema:
    return {"type": "array", "maxItems": 0}


def _plain(summary: str) -> Schema:
    """A question without a body."""
    return _operation(summary, {_JSON: {"schema": {"type": "object"}}})


def _ready() -> Schema:
    made = _plain("Whether every model can answer.")
    made["responses"]["503"] = {**made["responses"]["200"], "description": "Some model cannot; ``reasons`` says why."}
    return made


def _asked(summary: str, request: Schema, answer: Schema, errors: Sequence[int]) -> Schema:
    body = {"required": True, "content": {_JSON: {"schema": request}}}
    return {"requestBody": body, **_operation(summary, {_JSON: {"schema": answer}}, errors)}


def _operation(summary: str, content: Schema, errors: Sequence[int] = ()) -> Schema:
    """An operation; ``errors`` are those that not every request may be answered with."""
    responses: Schema = {"200": {"description": "The answer", "content": content}}
    for status in sorted({400, 405, 413, 431, 500, *errors}):
        schema = {"schema": {"$ref": "#/components/schemas/Error"}}
        responses[str(status)] = {"description": _ERRORS[status], "content": {_JSON: schema}}
    return {"summary": summary, "responses": responses}
