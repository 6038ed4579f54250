"""The description says what the project declares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import EventStream, FeatureView, Project, String, count
from serving.http.request_error import RequestError
from serving.openapi import describe_api
from serving.request_event import read_key
from tests.unit.serving.cards import model, project


def test_keys_events_and_features_are_those_of_the_project() -> None:
    document = describe_api(project, version="1", max_batch=7)

    asked = document["paths"]["/get-online-features"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    by_name, by_service = (form["properties"] for form in asked["anyOf"])
    assert set(by_name["entities"]["properties"]) == {"card", "shop"}
    assert by_name["entities"]["properties"]["card"]["maxItems"] == 7
    assert "spending:count_1d" in by_name["features"]["items"]["enum"]
    assert by_service["feature_service"]["enum"] == [model.name]
    sent = document["paths"][f"/predict/{model.name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    event = sent["anyOf"][2]
    assert set(event["required"]) == {"payment", "card", "shop", "amount", "at"}
    assert event["properties"]["tip"]["anyOf"][1] == {"type": "null"}


def test_a_project_of_nothing_is_described_too() -> None:
    empty = Project(name="p", path=Path(), streams=(), labels=(), views=(), requests=(), models=())

    assert "/health" in describe_api(empty, version="1", max_batch=1)["paths"]


def test_every_operation_names_what_any_request_may_be_answered_with() -> None:
    paths = describe_api(project, version="1", max_batch=7)["paths"]
    operations = [operation for path in paths.values() for operation in path.values()]

    assert all({"200", "400", "405", "413", "431", "500"} <= set(each["responses"]) for each in operations)
    not_ready = paths["/ready"]["get"]["responses"]["503"]["content"]["application/json"]["schema"]
    assert not_ready == {"type": "object"}


MAX_BYTES = 9
TEXT_KEY = String(max_bytes=MAX_BYTES)


def key_schema() -> Any:
    """What the document says of a key that is a text."""
    visits = EventStream("visits", key="user", time="at", id="visit", schema={"user": TEXT_KEY})
    view = FeatureView("seen", entity="user", source=visits, features=[count().over("1d")])
    document = describe_api(
        replace(project, streams=(visits,), views=(view,), labels=(), requests=(), models=()), version="1", max_batch=1
    )
    asked = document["paths"]["/get-online-features"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return asked["anyOf"][0]["properties"]["entities"]["properties"]["user"]["items"]


def is_taken(text: str) -> bool:
    try:
        return read_key(TEXT_KEY, text, "user", 0) == text
    except RequestError:
        return False


ALLOWED = jsonschema.Draft202012Validator(key_schema())


@given(text=st.text(st.characters(codec="utf-8"), max_size=MAX_BYTES + 1))
def test_a_text_the_document_allows_is_taken(text: str) -> None:
    assert not ALLOWED.is_valid(text) or is_taken(text)


@pytest.mark.parametrize("character", ["a", "\n", "é", "€", "😀"])
@pytest.mark.parametrize("count", range(MAX_BYTES + 2))
def test_a_text_of_characters_of_one_width_is_taken_when_the_document_allows_it(character: str, count: int) -> None:
    assert ALLOWED.is_valid(character * count) == is_taken(character * count)
