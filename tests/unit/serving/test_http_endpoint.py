"""One endpoint: every failure is JSON with a status, and is counted."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from headrace.errors import IntegrityError, RejectedError, UnavailableError
from serving.http.endpoint import Endpoint, TaskEndpoint
from serving.http.json_body import read_json
from serving.http.reply import Reply
from serving.http.request_error import RequestError
from serving.metrics import Metrics

Handler = Callable[[Mapping[str, str], bytes], Awaitable[Reply]]


class Seen:
    """An exchange that keeps its answer."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []

    def answer(self, reply: Reply) -> None:
        self.replies.append(reply)

    def answer_json(self, content: bytes) -> None:
        self.replies.append(Reply(content=content))


async def echo(path: Mapping[str, str], body: bytes) -> Reply:
    return Reply(content={"path": path, "body": read_json(body, max_depth=8)})


def failing(error: Exception) -> Handler:
    async def fail(_path: Mapping[str, str], _body: bytes) -> Reply:
        raise error

    return fail


def answer(handler: Handler, body: bytes | None, metrics: Metrics | None = None) -> tuple[int, Any]:
    """Status and content of one answer."""
    seen: Any = Seen()

    async def run() -> None:
        endpoint = TaskEndpoint("/x", handler, metrics=metrics or Metrics(), max_body_bytes=20)
        endpoint.begin(seen, body, {"model": "cards"})
        while not seen.replies:
            await asyncio.sleep(0)

    asyncio.run(run())
    (reply,) = seen.replies
    return reply.status, reply.content


def test_a_request_is_answered() -> None:
    assert answer(echo, b'{"a":1}') == (200, {"path": {"model": "cards"}, "body": {"a": 1}})


def test_a_body_that_was_too_large_is_refused() -> None:
    status, said = answer(echo, None)

    assert (status, said["error"]["message"]) == (413, "the body is larger than 20 bytes")


@pytest.mark.parametrize("body", [b"", b"{", b"{]", b"NaN", b"1e999", b'"\xff"', b'{"a":1}}'])
def test_what_is_no_json_is_a_400(body: bytes) -> None:
    status, said = answer(echo, body)

    assert (status, said["error"]["field"]) == (400, "")


@pytest.mark.parametrize("body", [b"[" * 1_000, b'{"a":' * 9, b"[" * 9 + b"]" * 9])
def test_json_nested_too_deep_is_a_400_that_names_the_bound(body: bytes) -> None:
    status, said = answer(echo, body)

    assert (status, said["error"]["message"]) == (400, "the body is nested more than 8 deep")
    assert "serve.max_json_depth" in said["error"]["hint"]
    assert read_json(b"[" * 8 + b"]" * 8, max_depth=8)


def test_a_bound_above_pythons_own_is_still_an_answer() -> None:
    with pytest.raises(RequestError, match="too deep"):
        read_json(b"[" * 100_000, max_depth=100_000)


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


def test_an_endpoint_that_fails_before_it_begins_answers_too() -> None:
    class Failing(Endpoint):
        def _start(self, *_: object) -> None:
            raise RequestError("features", "is missing")

    seen: Any = Seen()
    Failing("/x", metrics=Metrics(), max_body_bytes=20).begin(seen, b"")

    assert [reply.status for reply in seen.replies] == [400]


def test_answers_are_counted_by_route_and_status() -> None:
    metrics = Metrics()
    for handler in (echo, echo, failing(KeyError("x"))):
        answer(handler, b"{}", metrics)

    text = metrics.text().decode()
    assert 'headrace_requests_total{route="/x",status="200"} 2.0' in text
    assert 'headrace_requests_total{route="/x",status="500"} 1.0' in text
    assert 'headrace_request_seconds_bucket{le="+Inf",route="/x"} 3.0' in text
    assert 'headrace_request_seconds_count{route="/x"} 3.0' in text
