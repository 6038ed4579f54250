"""The HTTP surface: features, predictions, and what a server says about itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from feature_store.lookup import AsyncOnlineReader, LookupRequest, ViewRow
from headrace.contracts.codec import encode
from headrace.errors import IntegrityError, UnavailableError
from serving.event_lookup import lookup_request
from serving.feast_payload import FeastPayload
from serving.http_endpoint import Endpoint, Reply, error_body
from serving.json_body import read_json
from serving.metrics import CONTENT_TYPE
from serving.model_service import ModelService
from serving.parts import ServingParts
from serving.predict_payload import PredictPayload
from serving.request_error import RequestError

__all__ = ["READ_TIMEOUT_S", "build_app"]

READ_TIMEOUT_S = 1.0
"""Longest wait for the online store; then a prediction is answered by its fallback."""


def build_app(parts: ServingParts) -> Starlette:
    """The application over ``parts``, which it starts and stops with itself."""
    handlers = _Handlers(parts)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        handlers.reader = AsyncOnlineReader(parts.settings.redis.url, parts.project)
        await asyncio.to_thread(parts.start)
        try:
            yield
        finally:
            await handlers.reader.close()
            await asyncio.to_thread(parts.close)

    return Starlette(
        routes=[
            handlers.route("/get-online-features", "POST", handlers.features),
            handlers.route("/predict/{model}", "POST", handlers.predict),
            handlers.route("/models", "GET", handlers.models),
            handlers.route("/models/{model}", "GET", handlers.model),
            handlers.route("/health", "GET", handlers.health),
            handlers.route("/ready", "GET", handlers.ready),
            handlers.route("/metrics", "GET", handlers.exposition),
        ],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )


class _Handlers:
    reader: AsyncOnlineReader
    """Made with the event loop it runs in."""

    def __init__(self, parts: ServingParts) -> None:
        self._parts = parts
        max_batch = parts.settings.serve.max_batch
        self._feast = FeastPayload(parts.project, max_batch)
        self._payloads = {name: PredictPayload(service.model, max_batch) for name, service in parts.services.items()}

    def route(self, path: str, method: str, answer: Any) -> Route:
        limit = self._parts.settings.serve.max_body_bytes
        endpoint = Endpoint(path, answer, metrics=self._parts.metrics, max_body_bytes=limit)
        return Route(path, endpoint, methods=[method])

    async def features(self, _path: dict[str, str], body: bytes) -> Reply:
        query = self._feast.read(read_json(body))
        rows = await self._read([LookupRequest(views=query.views, entities=keys) for keys in query.rows])
        return Reply(content=self._feast.answer(query, rows))

    async def predict(self, path: dict[str, str], body: bytes) -> Reply:
        service = self._service(path["model"])
        payload = self._payloads[path["model"]]
        events, batch = payload.read(read_json(body), now_us=self._parts.clock.now_us())
        requests = [lookup_request(service.model, event) for event in events]
        rows: Sequence[Mapping[str, ViewRow]] | str
        try:
            rows = await self._read(requests)
        except (UnavailableError, IntegrityError) as error:
            rows = f"features unavailable: {error.args[0]}"
        return Reply(content=payload.answer(service.predict(events, rows), batch=batch))

    async def models(self, _path: dict[str, str], _body: bytes) -> Reply:
        return Reply(content={"models": [self._state(name) for name in self._parts.services]})

    async def model(self, path: dict[str, str], _body: bytes) -> Reply:
        self._service(path["model"])
        return Reply(content=self._state(path["model"]))

    async def health(self, _path: dict[str, str], _body: bytes) -> Reply:
        return Reply(content={"status": "ok"})

    async def ready(self, _path: dict[str, str], _body: bytes) -> Reply:
        """Ready: every model that ever had a champion can answer; degraded is ready, answers are exact or flagged."""
        follower, names = self._parts.follower, tuple(self._parts.services)
        reasons = {name: follower.problem(name) for name in names if follower.problem(name)}
        stuck = [name for name in reasons if follower.current(name) is None]
        status = "not ready" if stuck else "degraded" if reasons else "ready"
        return Reply(content={"status": status, "reasons": reasons}, status=503 if stuck else 200)

    async def exposition(self, _path: dict[str, str], _body: bytes) -> Reply:
        return Reply(content=self._parts.metrics.text(), content_type=CONTENT_TYPE.encode())

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
            "record": None if loaded is None else _plain(loaded.record),
            "versions": [] if loaded is None else sorted(loaded.versions),
            "problem": self._parts.follower.problem(name),
        }

    async def _read(self, requests: Sequence[LookupRequest]) -> list[dict[str, ViewRow]]:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                return await self.reader.read(requests)
        except TimeoutError:
            raise UnavailableError(f"the online store did not answer in {READ_TIMEOUT_S:g} s") from None


def _plain(value: Any) -> Any:
    return read_json(encode(value))


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "GET /health, /ready, /metrics, /models; POST /get-online-features, /predict/<model>"
    return JSONResponse(error_body(error.detail, hint), error.status_code, headers=error.headers)
