"""Feast's feature server and ours answer the same request alike, on the same rows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from feast.feature_server import get_app

from feature_store.definitions.feast_registry import FeastRegistry, open_feast
from headrace.config import Settings
from tests.integration.serving_house import House, payment
from tests.unit.serving.cards import NOON_US

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore")]  # Feast's own deprecations
ENTITIES = {"card": [1, 2, 1], "shop": [7, 8, 8]}


@pytest.fixture
def house(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str]) -> House:
    made = House(stack, tmp_path, fresh_name("cards"))
    made.apply(
        payment(1, card=1, shop=7, amount=4.0),
        payment(2, card=2, shop=8, amount=5.25, at_us=NOON_US + 250_000),
        payment(3, card=1, shop=8, amount=0.1, at_us=NOON_US + 1),
    )
    FeastRegistry(made.settings, made.project).apply()
    return made


@pytest.fixture
def feast(house: House) -> Iterator[httpx.Client]:
    from starlette.testclient import TestClient  # warns when it is imported

    with TestClient(get_app(open_feast(house.settings, house.project.name))) as client:
        yield client


def by_name(answer: dict[str, Any]) -> dict[str, Any]:
    """Vectors by name: Feast gives columns in no fixed order."""
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


@pytest.mark.parametrize(
    "request_body",
    [
        {"features": ["spending:count_1d", "spending:mean_amount_1d", "trouble:mean_bad_7d"], "entities": ENTITIES},
        {"features": ["trouble:mean_bad_7d"], "entities": ENTITIES, "full_feature_names": True},
        {"feature_service": "the model", "entities": ENTITIES, "full_feature_names": True},
    ],
)
def test_the_same_request_has_the_same_answer(house: House, feast: httpx.Client, request_body: dict[str, Any]) -> None:
    if "feature_service" in request_body:
        request_body = {**request_body, "feature_service": house.model.name}
    theirs = feast.post("/get-online-features", json=request_body)
    with house.serving() as ask:
        status, ours = ask("POST", "/get-online-features", request_body)

    assert (status, theirs.status_code) == (200, 200)
    assert by_name(ours) == by_name(theirs.json())
    assert ours.keys() == theirs.json().keys()


def test_a_key_never_seen_has_feasts_values_and_times_under_an_honest_status(house: House, feast: httpx.Client) -> None:
    request_body = {"features": ["spending:count_1d"], "entities": {"card": [99]}}
    theirs = by_name(feast.post("/get-online-features", json=request_body).json())["count_1d"]
    with house.serving() as ask:
        ours = by_name(ask("POST", "/get-online-features", request_body)[1])["count_1d"]

    assert ours == {**theirs, "statuses": ["NOT_FOUND"]}
