"""One endpoint: every failure is JSON with a status, and bodies are bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from headrace.errors import IntegrityError, RejectedError, UnavailableError
from serving.http_endpoint import Endpoint, Reply
from serving.json_body import read_json
from serving.metrics import Metrics
from serving.request_error import RequestError

Handler = Callable[[dict[str, str], bytes], Awaitable[Reply]]


async def echo(path: dict[str, str], body: bytes) -> Reply:
    return Reply(content={"path": path, "body": read_json(body)})


def failing(error: Exception) -> Handler:
    async def fail(_path: dict[str, str], _body: bytes) -> Reply:
        raise error

    return fail


def call(handler: Handler, *parts: bytes, length: int | None = None, gone: bool = False) -> list[dict[str, Any]]:
    """Messages an endpoint sends for a body that comes in ``parts``."""
    incoming = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1 or gone}
        for number, part in enumerate(parts)
    ]
    incoming.append({"type": "http.disconnect"})
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    scope = {"type": "http", "headers": headers, "path_params": {"model": "cards"}}
    endpoint = Endpoint("/x", handler, metrics=Metrics(), max_body_bytes=20)
    asyncio.run(endpoint(scope, receive, send))
    return sent


def answer(*arguments: Any, **options: Any) -> tuple[int, Any]:
    sent = call(*arguments, **options)
    return sent[0]["status"], msgspec.json.decode(sent[1]["body"])


def test_a_body_is_read_whole_however_it_is_cut() -> None:
    assert answer(echo, b'{"a"', b":1", b"}") == (200, {"path": {"model": "cards"}, "body": {"a": 1}})


@pytest.mark.parametrize("options", [{"length": 21}, {"length": 10**12}])
def test_a_body_announced_too_large_is_refused(options: dict[str, int]) -> None:
    status, body = answer(echo, b"{}", **options)

    assert (status, body["error"]["message"]) == (413, "the body is larger than 20 bytes")


@pytest.mark.parametrize("parts", [(b"1" * 21,), (b"1" * 15, b"1" * 15)])
def test_a_body_that_turns_out_too_large_is_refused(parts: tuple[bytes, ...]) -> None:
    assert answer(echo, *parts)[0] == 413


def test_nothing_is_sent_to_a_client_that_left() -> None:
    assert call(echo) == []
    assert call(echo, b"{", gone=True) == []


@pytest.mark.parametrize("body", [b"", b"{", b"{]", b"NaN", b"1e999", b'"\xff"', b'{"a":1}}'])
def test_what_is_no_json_is_a_400(body: bytes) -> None:
    status, said = answer(echo, body)

    assert (status, said["error"]["field"]) == (400, "")


def test_json_nested_too_deep_is_a_400() -> None:
    with pytest.raises(RequestError, match="too deep"):
        read_json(b"[" * 100_000)


@pytest.mark.parametrize(
    ("error", "status", "field"),
    [
        (RequestError("event.card", "is missing", hint="give it"), 400, "event.card"),
        (RequestError("model", "is unknown", status=404), 404, "model"),
        (UnavailableError("away", hint="wait"), 503, ""),
        (RejectedError("not now"), 409, ""),
        (IntegrityError("torn"), 500, ""),
    ],
)
def test_our_errors_become_their_status_with_field_message_and_hint(error: Exception, status: int, field: str) -> None:
    said_status, said = answer(failing(error), b"{}")

    assert (said_status, said["error"]["field"]) == (status, field)
    assert said["error"]["message"] == error.args[0]


def test_an_unforeseen_error_shows_no_trace() -> None:
    status, said = answer(failing(KeyError("secret")), b"{}")

    assert (status, "secret" in str(said)) == (500, False)
