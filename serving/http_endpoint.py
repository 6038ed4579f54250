"""One HTTP endpoint: bounded body in, JSON out, every failure a clear answer; the only file that speaks ASGI."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from headrace.errors import HeadraceError, RejectedError
from headrace.logging import get_logger
from serving.metrics import Metrics
from serving.request_error import RequestError

__all__ = ["Endpoint", "Reply", "error_body"]

JSON = b"application/json"
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is sent back."""

    content: Any
    """Bytes as they are, anything else as JSON."""
    status: int = 200
    content_type: bytes = field(default=JSON)


class Endpoint:
    """An ASGI application around one function.

    Args:
        route: its name in metrics.
        answer: takes the path's parameters and the body.
        metrics: counters.
        max_body_bytes: larger bodies are answered with 413, unread.
    """

    def __init__(
        self,
        route: str,
        answer: Callable[[dict[str, str], bytes], Awaitable[Reply]],
        *,
        metrics: Metrics,
        max_body_bytes: int,
    ) -> None:
        self._route, self._answer, self._metrics, self._max = route, answer, metrics, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            body = await self._body(scope, receive)
            if body is None:
                return
            reply = await self._answer(scope["path_params"], body)
        except RequestError as error:
            reply = Reply(content=error_body(error.message, error.hint, field=error.field), status=error.status)
        except HeadraceError as error:
            status = 503 if error.retryable else 409 if isinstance(error, RejectedError) else 500
            if status == 500:
                _log.error("request failed", error=error, route=self._route)
            reply = Reply(content=error_body(str(error.args[0]), error.hint), status=status)
        except Exception as error:  # the user gets a sentence, the log the traceback
            _log.error("request failed", error=error, route=self._route)
            reply = Reply(content=error_body("this request failed inside headrace", "see the server's log"), status=500)
        content = reply.content if isinstance(reply.content, bytes) else msgspec.json.encode(reply.content)
        headers = [(b"content-type", reply.content_type), (b"content-length", b"%d" % len(content))]
        if reply.status == 413:
            headers.append((b"connection", b"close"))  # the rest of the body is not read
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self._metrics.request(self._route, reply.status, time.perf_counter() - began)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The request's body; None when the client went away."""
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._max:
                raise self._too_large()
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(body) > self._max:
                raise self._too_large()
            return body
        parts, size = [body], len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max:
                raise self._too_large()
        return b"".join(parts)

    def _too_large(self) -> RequestError:
        return RequestError("", f"the body is larger than {self._max} bytes", hint="send smaller batches", status=413)


def error_body(message: str, hint: str, *, field: str = "") -> dict[str, Any]:
    """The form of every error."""
    return {"error": {"field": field, "message": message, "hint": hint}}
