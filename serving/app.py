"""The HTTP surface: features, predictions, and what a server says about itself."""

import asyncio
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from feature_store.online.lookup import LookupRequest, ViewRow
from feature_store.online.lookup_wire import LookupWire
from feature_store.online.redis_pipe import RedisPipe
from headrace.contracts.codec import encode
from headrace.errors import IntegrityError, UnavailableError
from serving.event_lookup import lookup_request
from serving.http.endpoint import TaskEndpoint
from serving.http.json_body import read_json
from serving.http.reply import Reply
from serving.http.request_error import RequestError
from serving.http.routes import HttpRoute, HttpRouter
from serving.lookups.feast_payload import FeastPayload
from serving.lookups.feature_endpoint import FeatureEndpoint
from serving.metrics import CONTENT_TYPE
from serving.model_service import ModelService
from serving.openapi import describe_api
from serving.parts import ServingParts
from serving.predict_payload import PredictPayload

__all__ = ["READ_TIMEOUT_S", "App"]

READ_TIMEOUT_S = 1.0
"""Longest wait for the online store; then a prediction is answered by its fallback."""


class App:
    """The application over ``parts``, which it starts and stops with itself."""

    def __init__(self, parts: ServingParts) -> None:
        self._parts = parts
        serve = parts.settings.serve
        self.max_body_bytes, self._max_depth = serve.max_body_bytes, serve.max_json_depth
        self._pipe = RedisPipe(parts.settings.redis.url, timeout_s=READ_TIMEOUT_S)
        self._wire = LookupWire(parts.project)
        self._payloads = {
            name: PredictPayload(service.model, serve.max_batch) for name, service in parts.services.items()
        }
        payload = FeastPayload(parts.project, serve.max_batch, max_depth=serve.max_json_depth)
        bounds: Any = {"metrics": parts.metrics, "max_body_bytes": serve.max_body_bytes}
        self._features = FeatureEndpoint("/get-online-features", payload, self._pipe, **bounds)
        self.router = HttpRouter(
            [
                HttpRoute(method="POST", path=self._features.route, endpoint=self._features),
                *(
                    HttpRoute(method=method, path=path, endpoint=TaskEndpoint(path, answer, **bounds))
                    for method, path, answer in (
                        ("POST", "/predict/{model}", self._predict),
                        ("GET", "/models", self._models),
                        ("GET", "/models/{model}", self._model),
                        ("GET", "/health", self._health),
                        ("GET", "/ready", self._ready),
                        ("GET", "/metrics", self._exposition),
                        ("GET", "/openapi.json", self._description),
                    )
                ),
            ]
        )

    async def start(self) -> None:
        """Load what must answer."""
        await asyncio.to_thread(self._parts.start)
        await asyncio.to_thread(self._features.warm_up)

    async def stop(self) -> None:
        """After the last answer."""
        self._pipe.close()
        await asyncio.to_thread(self._parts.close)

    async def _predict(self, path: Mapping[str, str], body: bytes) -> Reply:
        service = self._service(path["model"])
        payload = self._payloads[path["model"]]
        events, batch = payload.read(read_json(body, max_depth=self._max_depth), now_us=self._parts.clock.now_us())
        requests = [lookup_request(service.model, event) for event in events]
        rows: Sequence[Mapping[str, ViewRow]] | str
        try:
            rows = await self._read(requests)
        except (UnavailableError, IntegrityError) as error:
            rows = f"features unavailable: {error.args[0]}"
        return Reply(content=payload.answer(service.predict(events, rows), batch=batch))

    async def _models(self, _path: Mapping[str, str], _body: bytes) -> Reply:
        return Reply(content={"models": [self._state(name) for name in self._parts.services]})

    async def _model(self, path: Mapping[str, str], _body: bytes) -> Reply:
        self._service(path["model"])
        return Reply(content=self._state(path["model"]))

    async def _health(self, _path: Mapping[str, str], _body: bytes) -> Reply:
        return Reply(content={"status": "ok"})

    async def _ready(self, _path: Mapping[str, str], _body: bytes) -> Reply:
        """Ready: every model that ever had a champion can answer; degraded is ready, answers are exact or flagged."""
        follower, names = self._parts.follower, tuple(self._parts.services)
        reasons = {name: follower.problem(name) for name in names if follower.problem(name)}
        stuck = [name for name in reasons if follower.current(name) is None]
        status = "not ready" if stuck else "degraded" if reasons else "ready"
        return Reply(content={"status": status, "reasons": reasons}, status=503 if stuck else 200)

    async def _exposition(self, _path: Mapping[str, str], _body: bytes) -> Reply:
        return Reply(content=self._parts.metrics.text(), content_type=CONTENT_TYPE.encode())

    async def _description(self, _path: Mapping[str, str], _body: bytes) -> Reply:
        max_batch = self._parts.settings.serve.max_batch
        return Reply(content=describe_api(self._parts.project, version=version("headrace"), max_batch=max_batch))

    def _service(self, name: str) -> ModelService:
        service = self._parts.services.get(name)
        if service is None:
            raise RequestError(
                "model", f"model {name!r} is unknown", hint=f"known are {sorted(self._parts.services)}", status=404
            )
        return service

    def _state(self, name: str) -> dict[str, Any]:
        loaded = self._parts.follower.current(name)
        return {
            "model": name,
            "record": None if loaded is None else msgspec.Raw(encode(loaded.record)),
            "versions": [] if loaded is None else sorted(loaded.versions),
            "problem": self._parts.follower.problem(name),
        }

    async def _read(self, requests: Sequence[LookupRequest]) -> list[dict[str, ViewRow]]:
        return self._wire.decode(requests, await self._pipe.replies(self._wire.encode(requests)))
