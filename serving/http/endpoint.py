"""One HTTP endpoint: a body in, an answer out, every failure a clear answer, all of it counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
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

_log = get_logger(__name__)


class EndpointTask(Protocol):
    """What a :class:`TaskEndpoint` runs."""

    def __call__(self, path: Mapping[str, str], body: bytes, /) -> Awaitable[Reply]: ...


class Endpoint:
    """An endpoint whose function answers later, by a call.

    Args:
        route: its name in metrics.
        start: takes the path's parameters, the body, and what to call with the end.
        metrics: counters.
        max_body_bytes: the bound that larger bodies were held to, for the sentence about it.
    """

    def __init__(
        self,
        route: str,
        start: Callable[[Mapping[str, str], bytes, Callable[[Ending], None]], None],
        *,
        metrics: Metrics,
        max_body_bytes: int,
    ) -> None:
        self.route = route
        self._start, self._metrics, self._max = start, metrics, max_body_bytes

    def begin(self, exchange: Exchange, path: Mapping[str, str], body: bytes | None) -> None:
        """Answer one request, now or later; ``body`` is None when it was too large."""
        began = time.perf_counter()

        def end(reply: Ending) -> None:
            status = 200
            if isinstance(reply, bytes):
                exchange.answer_json(reply)
            else:
                if isinstance(reply, Exception):
                    reply = self._failed(reply)
                status = reply.status
                exchange.answer(reply)
            self._metrics.request(self.route, status, time.perf_counter() - began)

        if body is None:
            message = f"the body is larger than {self._max} bytes"
            end(RequestError("", message, hint="send smaller batches", status=413))
            return
        try:
            self._start(path, body, end)
        except Exception as error:
            end(error)

    def _failed(self, error: Exception) -> Reply:
        reply = error_reply(error)
        if reply.status == 500 or not isinstance(error, HeadraceError | RejectedError):
            _log.error("request failed", error=error, route=self.route)
        return reply


class TaskEndpoint(Endpoint):
    """An endpoint whose function is a coroutine."""

    def __init__(self, route: str, answer: EndpointTask, *, metrics: Metrics, max_body_bytes: int) -> None:
        super().__init__(route, self._launch, metrics=metrics, max_body_bytes=max_body_bytes)
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        """Kept here: the event loop itself holds tasks only weakly."""

    def _launch(self, path: Mapping[str, str], body: bytes, end: Callable[[Ending], None]) -> None:
        task = asyncio.get_running_loop().create_task(self._run(path, body, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, path: Mapping[str, str], body: bytes, end: Callable[[Ending], None]) -> None:
        try:
            reply = await self._answer(path, body)
        except Exception as error:
            end(error)
        else:
            end(reply)
