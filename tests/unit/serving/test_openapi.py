"""The description says what the project declares."""

from pathlib import Path

from headrace import Project
from serving.openapi import describe_api
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
