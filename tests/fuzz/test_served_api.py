"""The served API under requests drawn from its own description: every answer is one the description allows.

HEADRACE_FUZZ_REQUESTS says how many requests of each kind and path; `make fuzz` sends many.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.config import Settings
from tests.fuzz.openapi_values import assert_matches, bent, drawn
from tests.integration.serving_house import Asker, House, payment

pytestmark = pytest.mark.integration
REQUESTS = int(os.environ.get("HEADRACE_FUZZ_REQUESTS", "40"))
NAME = "api-cards"
POSTS = ("/get-online-features", f"/predict/{NAME}")
patient = settings(
    max_examples=REQUESTS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def ask(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    house = House(stack, tmp_path_factory.mktemp("api"), NAME)
    house.publish("v1", weight=0.01)
    house.apply(*(payment(n, card=n % 9, shop=n % 5, amount=1.5 * n) for n in range(1, 30)))
    house.roll_out(champion="v1")
    with house.serving() as asker:
        yield asker


@pytest.fixture(scope="module")
def document(ask: Asker) -> dict[str, Any]:
    status, found = ask("GET", "/openapi.json")
    assert status == 200
    return dict(found)


def operation(document: dict[str, Any], path: str, method: str = "post") -> dict[str, Any]:
    return dict(document["paths"][path][method])


def asked(document: dict[str, Any], path: str) -> dict[str, Any]:
    return dict(operation(document, path)["requestBody"]["content"]["application/json"]["schema"])


def assert_documented(document: dict[str, Any], path: str, method: str, status: int, answer: Any) -> None:
    """The status is one the description names, and the content has the form it gives."""
    responses = operation(document, path, method)["responses"]
    assert str(status) in responses, (status, answer)
    content = responses[str(status)]["content"]
    if "application/json" in content:
        assert_matches(answer, content["application/json"]["schema"], document)
    if status != 200 and "error" in answer:
        assert answer["error"]["message"]


def test_every_path_that_is_described_answers(ask: Asker, document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method in operations:
            status, answer = ask(method.upper(), path, None if method == "get" else b"")
            assert_documented(document, path, method, status, answer)


@pytest.mark.parametrize("path", POSTS)
@patient
@given(data=st.data())
def test_a_request_as_described_is_answered(
    path: str, ask: Asker, document: dict[str, Any], data: st.DataObject
) -> None:
    body = data.draw(drawn(asked(document, path)))

    status, answer = ask("POST", path, body)

    assert_documented(document, path, "post", status, answer)
    assert status < 500, answer


@pytest.mark.parametrize("path", POSTS)
@patient
@given(data=st.data())
def test_a_request_that_is_bent_is_answered_or_refused(
    path: str, ask: Asker, document: dict[str, Any], data: st.DataObject
) -> None:
    body = data.draw(bent(data.draw(drawn(asked(document, path)))))

    status, answer = ask("POST", path, body)

    assert_documented(document, path, "post", status, answer)
    assert status < 500, answer


@pytest.mark.parametrize("path", POSTS)
@patient
@given(data=st.data())
def test_bytes_that_are_no_json_any_more_are_refused(
    path: str, ask: Asker, document: dict[str, Any], data: st.DataObject
) -> None:
    body = bytearray(json.dumps(data.draw(drawn(asked(document, path)))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    status, answer = ask("POST", path, bytes(body))

    assert_documented(document, path, "post", status, answer)
    assert status < 500, answer


@patient
@given(
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
)
def test_any_target_is_answered(ask: Asker, target: str, method: str) -> None:
    status, _ = ask(method, "/" + target, b"{}" if method in ("POST", "PUT") else None)

    assert status in (200, 400, 404, 405)
