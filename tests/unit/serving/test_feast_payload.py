"""Feast's request and answer, and errors that name the field."""

from types import SimpleNamespace
from typing import Any

import pytest

from serving.feast_payload import FeastPayload, feast_timestamp
from serving.request_error import RequestError
from tests.unit.serving.cards import NOON_US, project

PAYLOAD = FeastPayload(project, max_batch=3)
GOOD: dict[str, Any] = {
    "features": ["spending:count_1d", "trouble:mean_bad_7d"],
    "entities": {"card": [1, 2], "shop": [7, 8]},
}


def row(status: str, event_time_us: int | None, **values: float | None) -> Any:
    return SimpleNamespace(status=status, event_time_us=event_time_us, values=values)


def test_the_answer_has_join_keys_first_then_features_each_with_one_value_per_row() -> None:
    query = PAYLOAD.read({**GOOD, "full_feature_names": True})
    found = {"spending": row("PRESENT", NOON_US, count_1d=3), "trouble": row("EXPIRED", NOON_US + 5, mean_bad_7d=None)}
    unseen = {"spending": row("NOT_FOUND", None, count_1d=None), "trouble": row("PRESENT", 1_000, mean_bad_7d=0.5)}

    answer = PAYLOAD.answer(query, [found, unseen])

    never, noon = "1970-01-01T00:00:00Z", "2018-04-01T12:00:00Z"
    assert answer == {
        "metadata": {"feature_names": ["card", "shop", "spending__count_1d", "trouble__mean_bad_7d"]},
        "results": [
            {"values": [1, 2], "statuses": ["PRESENT", "PRESENT"], "event_timestamps": [never, never]},
            {"values": [7, 8], "statuses": ["PRESENT", "PRESENT"], "event_timestamps": [never, never]},
            {"values": [3, None], "statuses": ["PRESENT", "NOT_FOUND"], "event_timestamps": [noon, never]},
            {
                "values": [None, 0.5],
                "statuses": ["OUTSIDE_MAX_AGE", "PRESENT"],
                "event_timestamps": ["2018-04-01T12:00:00.000005Z", "1970-01-01T00:00:00.001Z"],
            },
        ],
    }


def test_short_names_are_the_default() -> None:
    assert [name for name, _, _ in PAYLOAD.read(GOOD).columns] == ["count_1d", "mean_bad_7d"]


def test_a_model_is_a_feature_service_of_its_views() -> None:
    query = PAYLOAD.read({"feature_service": "cards", "entities": GOOD["entities"], "full_feature_names": True})

    assert [name for name, _, _ in query.columns] == [name for view in project.views for name in view.full_names]


def test_an_entity_no_asked_feature_needs_is_echoed_as_feast_does() -> None:
    query = PAYLOAD.read({"features": ["trouble:mean_bad_7d"], "entities": {"card": [1], "shop": [7]}})

    assert query.rows == [{"card": 1, "shop": 7}]


@pytest.mark.parametrize(
    ("changes", "field", "status"),
    [
        ({"features": None}, "features", 400),
        ({"features": []}, "features", 400),
        ({"features": "spending:count_1d"}, "features", 400),
        ({"features": ["spending"]}, "features[0]", 400),
        ({"features": [5]}, "features[0]", 400),
        ({"features": ["spending:count_1d", "nobody:count_1d"]}, "features[1]", 400),
        ({"features": ["spending:count_2d"]}, "features[0]", 400),
        ({"features": ["night:late"]}, "features[0]", 400),
        ({"features": ["spending:count_1d"] * 2}, "features[1]", 400),
        ({"feature_service": "cards"}, "features", 400),
        ({"feature_service": "nobody", "features": None}, "feature_service", 404),
        ({"entities": None}, "entities", 400),
        ({"entities": {"card": [1]}}, "entities.shop", 400),
        ({"entities": {"card": [1], "shop": [7, 8]}}, "entities.shop", 400),
        ({"entities": {"card": 1, "shop": [7]}}, "entities.card", 400),
        ({"entities": {"card": [], "shop": []}}, "entities", 400),
        ({"entities": {"card": [1], "shop": [7], "colour": [1]}}, "entities.colour", 400),
        ({"entities": {"card": [1, "2"], "shop": [7, 8]}}, "entities.card[1]", 400),
        ({"entities": {"card": [1, None], "shop": [7, 8]}}, "entities.card[1]", 400),
        ({"entities": {"card": [1, 2**63], "shop": [7, 8]}}, "entities.card[1]", 400),
        ({"entities": {"card": [1] * 4, "shop": [7] * 4}}, "entities.card", 413),
        ({"full_feature_names": "yes"}, "full_feature_names", 400),
        ({"colour": 1}, "colour", 400),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], field: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        PAYLOAD.read({**GOOD, **changes})

    assert (caught.value.field, caught.value.status) == (field, status)


@pytest.mark.parametrize("payload", [None, [], 3, "x"])
def test_a_body_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(RequestError, match="no JSON object"):
        PAYLOAD.read(payload)


def test_timestamps_have_decimals_in_threes() -> None:
    assert [feast_timestamp(NOON_US + extra) for extra in (0, 250_000, 250_001)] == [
        "2018-04-01T12:00:00Z",
        "2018-04-01T12:00:00.250Z",
        "2018-04-01T12:00:00.250001Z",
    ]
