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
_FORGOTTEN_BYTES = 64 * 1024 * 1024
"""Most that is read of a body that is too large; then the connection is cut."""
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
        max_body_bytes: larger bodies are answered with 413 and never held in memory.
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
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self._metrics.request(self._route, reply.status, time.perf_counter() - began)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The request's body; None when the client went away."""
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        too_large = announced.isdigit() and int(announced) > self._max
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part: bytes = message.get("body", b"")
            size += len(part)
            too_large = too_large or size > self._max
            # What is too large is read and forgotten: a client that still sends would not see the answer.
            if not too_large:
                parts.append(part)
            if not message.get("more_body", False) or size > _FORGOTTEN_BYTES:
                break
        if too_large:
            raise RequestError(
                "", f"the body is larger than {self._max} bytes", hint="send smaller batches", status=413
            )
        return parts[0] if len(parts) == 1 else b"".join(parts)


def error_body(message: str, hint: str, *, field: str = "") -> dict[str, Any]:
    """The form of every error."""
    return {"error": {"field": field, "message": message, "hint": hint}}
