"""One HTTP endpoint: a body in, an answer out, every failure a clear answer, all of it counted."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from headrace.errors import HeadraceError, RejectedError
from headrace.logging import get_logger
from serving.http.connection import Exchange
from serving.http.reply import Reply, error_reply
from serving.http.request_error import RequestError
from serving.metrics import Metrics

__all__ = ["Ending", "Endpoint", "EndpointTask", "TaskEndpoint"]

Ending = Reply | bytes | Exception
"""How a request ends: an answer, JSON that is an answer, or the error that stands for one."""

_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_log = get_logger(__name__)


class EndpointTask(Protocol):
    """What a :class:`TaskEndpoint` runs."""

    def __call__(self, path: Mapping[str, str], body: bytes, /) -> Awaitable[Reply]: ...


class Endpoint(ABC):
    """Answers the requests of one route.

    Args:
        route: its name in metrics.
        metrics: counters.
        max_body_bytes: the bound that larger bodies were held to, for the sentence about it.
    """

    def __init__(self, route: str, *, metrics: Metrics, max_body_bytes: int) -> None:
        self.route = route
        self._metrics, self._max = metrics, max_body_bytes

    def begin(self, exchange: Exchange, body: bytes | None, path: Mapping[str, str] = _NO_PARAMETERS) -> None:
        """Answer one request, now or later; ``body`` is None when it was too large."""
        exchange.began = time.perf_counter()
        if body is None:
            message = f"the body is larger than {self._max} bytes"
            self.end(exchange, RequestError("", message, hint="send smaller batches", status=413))
            return
        try:
            self._start(exchange, path, body)
        except Exception as error:
            self.end(exchange, error)

    def end(self, exchange: Exchange, reply: Ending) -> None:
        """Send what the request ends with."""
        status = 200
        if isinstance(reply, bytes):
            exchange.answer_json(reply)
        else:
            if isinstance(reply, Exception):
                reply = self._failed(reply)
            status = reply.status
            exchange.answer(reply)
        self._metrics.request(self.route, status, (time.perf_counter() - exchange.began,))

    def end_all(self, exchanges: Sequence[Exchange], contents: Sequence[bytes]) -> None:
        """As ``end`` of each, with JSON."""
        for exchange, content in zip(exchanges, contents, strict=True):
            exchange.answer_json(content)
        now = time.perf_counter()
        self._metrics.request(self.route, 200, [now - exchange.began for exchange in exchanges])

    @abstractmethod
    def _start(self, exchange: Exchange, path: Mapping[str, str], body: bytes) -> None:
        """Call ``end`` once, now or later; or fail, which ends it too."""

    def _failed(self, error: Exception) -> Reply:
        reply = error_reply(error)
        if reply.status == 500 or not isinstance(error, HeadraceError | RejectedError):
            _log.error("request failed", error=error, route=self.route)
        return reply


class TaskEndpoint(Endpoint):
    """An endpoint whose function is a coroutine."""

    def __init__(self, route: str, answer: EndpointTask, *, metrics: Metrics, max_body_bytes: int) -> None:
        super().__init__(route, metrics=metrics, max_body_bytes=max_body_bytes)
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        """Kept here: the event loop itself holds tasks only weakly."""

    def _start(self, exchange: Exchange, path: Mapping[str, str], body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._run(exchange, path, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, exchange: Exchange, path: Mapping[str, str], body: bytes) -> None:
        try:
            reply = await self._answer(path, body)
        except Exception as error:
            self.end(exchange, error)
        else:
            self.end(exchange, reply)
