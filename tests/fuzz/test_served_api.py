"""The served API under requests made from its own description: every answer is one the description allows.

Schemathesis makes them, as described, bent and at their bounds; what no client of JSON would send is made here.
HEADRACE_FUZZ_REQUESTS says how many requests of each kind and path; `make fuzz` sends many.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.schemas import BaseSchema

from headrace.config import Settings
from tests.integration.serving_house import Asker, House, payment
from tests.unit.serving.cards import NOON_US

pytestmark = pytest.mark.integration
REQUESTS = int(os.environ.get("HEADRACE_FUZZ_REQUESTS", "40"))
CONFIG = Path(__file__).with_name("schemathesis.toml")
NAME = f"api-{uuid.uuid4().hex[:8]}"
FEATURES, PREDICT = "/get-online-features", f"/predict/{NAME}"
# With names of their own: two workers of one run draw two names of the model, and must collect the same tests.
both_paths = pytest.mark.parametrize("path", [FEATURES, PREDICT], ids=["features", "predict"])
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
def described(ask: Asker) -> BaseSchema:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{ask.port}/openapi.json")


def test_schemathesis_finds_nothing(ask: Asker, tmp_path: Path) -> None:
    """Bounds of every field, values that are not allowed, methods that are not there; seeds are new each time."""
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG)]
    asked = ["run", f"http://127.0.0.1:{ask.port}/openapi.json", "--max-examples", str(REQUESTS), "--no-color"]

    # In a folder of its own: it keeps what it found where it runs.
    ended = subprocess.run([*program, *asked], capture_output=True, text=True, check=False, cwd=tmp_path)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.search(r"Selected: (\d+)/\1\n +Tested: \1\n", ended.stdout), ended.stdout


@both_paths
@patient
@given(data=st.data())
def test_what_the_description_allows_is_answered(path: str, described: BaseSchema, data: st.DataObject) -> None:
    case = data.draw(described[path]["POST"].as_strategy())
    case.body = answerable(case.body)

    response = case.call_and_validate()

    assert response.status_code == 200


@both_paths
@patient
@given(data=st.data())
def test_bytes_that_are_no_json_any_more_are_refused(
    path: str, ask: Asker, described: BaseSchema, data: st.DataObject
) -> None:
    case = data.draw(described[path]["POST"].as_strategy())
    body = bytearray(json.dumps(case.body).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    status, answer = ask("POST", path, bytes(body))

    assert status in (200, 400, 404, 413), answer
    assert status == 200 or answer["error"]["message"]


@both_paths
@pytest.mark.parametrize(
    "body",
    [b"[" * 900_000, b'{"entities":' * 80_000, b'{"event":' + b"[" * 40 + b"]" * 40 + b"}"],
    ids=["arrays", "objects", "in a field"],
)
def test_a_body_that_is_too_deep_is_refused_by_a_bound_with_a_name(path: str, body: bytes, ask: Asker) -> None:
    status, answer = ask("POST", path, body)

    assert (status, answer["error"]["message"]) == (400, "the body is nested more than 32 deep")
    assert "serve.max_json_depth" in answer["error"]["hint"]


@patient
@given(
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
)
def test_any_target_is_answered(ask: Asker, target: str, method: str) -> None:
    status, _ = ask(method, "/" + target, b"{}" if method in ("POST", "PUT") else None)

    assert status in (200, 400, 404, 405)


def answerable(body: Any) -> Any:
    """A body as drawn, but for what the description cannot say."""
    if isinstance(body, list):
        return [answerable(each) for each in body]
    if not isinstance(body, dict):
        return int(body) if isinstance(body, float) and body.is_integer() and abs(body) >= 2**53 else body
    made = {name: answerable(each) for name, each in body.items()}
    if "at" in made:
        made["at"] = NOON_US
    if "entities" in made:
        keys = made["entities"]
        rows = min(len(each) for each in keys.values())
        some = next(iter(keys.values()))
        made["entities"] = {name: keys.get(name, some)[:rows] for name in ("card", "shop")}
        made["full_feature_names"] = True
    return made
