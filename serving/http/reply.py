"""An answer and its bytes on the wire; every error has the same form."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec

from headrace.errors import HeadraceError, RejectedError
from serving.http.request_error import RequestError

__all__ = ["JSON", "Reply", "error_body", "error_reply", "json_to_wire", "to_wire"]

JSON = b"application/json"
_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
_USUAL = _LINES[200] + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is sent back."""

    content: Any
    """Bytes as they are, anything else as JSON."""
    status: int = 200
    content_type: bytes = field(default=JSON)
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    """Besides type and length of the content."""


def to_wire(reply: Reply, *, keep_alive: bool = True, with_content: bool = True) -> bytes:
    """Status line, headers and content.

    Args:
        reply: the answer.
        keep_alive: whether the connection stays open.
        with_content: false for an answer to HEAD, which has the headers only.
    """
    content = reply.content if isinstance(reply.content, bytes) else _encode(reply.content)
    headers = {b"content-type": reply.content_type, b"content-length": b"%d" % len(content), **reply.headers}
    if not keep_alive:
        headers[b"connection"] = b"close"
    lines = b"".join(b"%b: %b\r\n" % header for header in headers.items())
    return b"%b%b\r\n%b" % (_LINES[reply.status], lines, content if with_content else b"")


def json_to_wire(content: bytes, *, keep_alive: bool) -> bytes:
    """As :func:`to_wire` of a reply with this JSON and status 200."""
    return _USUAL % (len(content), content) if keep_alive else to_wire(Reply(content=content), keep_alive=False)


def error_body(message: str, hint: str, *, field: str = "") -> dict[str, Any]:
    """The form of every error."""
    return {"error": {"field": field, "message": message, "hint": hint}}


def error_reply(error: Exception) -> Reply:
    """The answer to a request that failed: the user gets a sentence, never a trace."""
    if isinstance(error, RequestError):
        return Reply(content=error_body(error.message, error.hint, field=error.field), status=error.status)
    if isinstance(error, HeadraceError):
        status = 503 if error.retryable else 409 if isinstance(error, RejectedError) else 500
        return Reply(content=error_body(str(error.args[0]), error.hint), status=status)
    return Reply(content=error_body("this request failed inside headrace", "see the server's log"), status=500)
