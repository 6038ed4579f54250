"""Feast's request and answer, and errors that name the field."""

import json
from typing import Any

import numpy as np
import pytest

from feature_store.online.online_layout import StoredRow, encode_row
from feature_store.plan import compile_view
from serving.http.request_error import RequestError
from serving.lookups.feast_answer import feast_timestamp
from serving.lookups.feast_payload import FeastPayload, FeatureQuery
from tests.unit.serving.cards import NOON_US, project

PAYLOAD = FeastPayload(project, max_batch=3, max_depth=8)
GOOD: dict[str, Any] = {
    "features": ["spending:count_1d", "trouble:mean_bad_7d"],
    "entities": {"card": [1, 2], "shop": [7, 8]},
}


PLANS = {view.name: compile_view(view) for view in project.views}


def read(payload: object) -> FeatureQuery:
    return PAYLOAD.read(json.dumps(payload).encode())


def stored(view: str, valid_from_us: int, *values: float) -> bytes:
    """A row as Redis has it."""
    row = StoredRow(
        definition=int(PLANS[view].version, 16),
        version=1,
        valid_from_us=valid_from_us,
        valid_until_us=0,
        watermark_us=0,
        values=np.array(values),
        times_us=None,
        ids=None,
        inputs=None,
    )
    return encode_row(row)


def answer(query: FeatureQuery, *replies: list[bytes | None]) -> Any:
    return json.loads(query.answer(replies))


def test_the_answer_has_join_keys_first_then_features_each_with_one_value_per_row() -> None:
    query = read({**GOOD, "full_feature_names": True})
    spending = [[stored("spending", NOON_US, 3, np.nan)], [None]]
    trouble = [[stored("trouble", NOON_US + 5, np.nan)], [stored("trouble", 1_000, 0.5)]]

    never, noon = "1970-01-01T00:00:00Z", "2018-04-01T12:00:00Z"
    assert answer(query, *spending, *trouble) == {
        "metadata": {"feature_names": ["card", "shop", "spending__count_1d", "trouble__mean_bad_7d"]},
        "results": [
            {"values": [1, 2], "statuses": ["PRESENT", "PRESENT"], "event_timestamps": [never, never]},
            {"values": [7, 8], "statuses": ["PRESENT", "PRESENT"], "event_timestamps": [never, never]},
            {"values": [3, None], "statuses": ["PRESENT", "NOT_FOUND"], "event_timestamps": [noon, never]},
            {
                "values": [None, 0.5],
                "statuses": ["PRESENT", "PRESENT"],
                "event_timestamps": ["2018-04-01T12:00:00.000005Z", "1970-01-01T00:00:00.001Z"],
            },
        ],
    }


@pytest.mark.parametrize(
    "names", [["spending:mean_amount_1d", "trouble:mean_bad_7d", "spending:count_1d"], ["trouble:mean_bad_7d"]]
)
@pytest.mark.parametrize("count", [3.0, np.nan])
def test_one_row_is_answered_like_the_first_of_two(names: list[str], count: float) -> None:
    rows = {"spending": [stored("spending", NOON_US, count, 0.1)], "trouble": [None]}
    asked = {"features": names, "entities": {"shop": [7, 7], "card": [1, 1]}}
    two = read(asked)
    one = read({**asked, "entities": {"shop": [7], "card": [1]}})
    given = [rows[view.name] for view in two.shape.views]

    first = answer(two, *(reply for reply in given for _ in range(2)))
    for result in first["results"]:
        result.update({name: values[:1] for name, values in result.items()})
    assert answer(one, *given) == first


def test_a_shape_that_is_known_is_checked_like_a_new_one() -> None:
    read(GOOD)
    with pytest.raises(RequestError) as caught:
        read({**GOOD, "entities": {"card": [1], "shop": ["x"]}})

    assert caught.value.field == "entities.shop[0]"
    assert read(GOOD).shape is read(GOOD).shape
    assert read({**GOOD, "full_feature_names": True}).shape is not read(GOOD).shape


def test_short_names_are_the_default() -> None:
    assert [name for name, _, _ in read(GOOD).shape.columns] == ["count_1d", "mean_bad_7d"]


def test_a_model_is_a_feature_service_of_its_views() -> None:
    query = read({"feature_service": "cards", "entities": GOOD["entities"], "full_feature_names": True})

    assert [name for name, _, _ in query.shape.columns] == [name for view in project.views for name in view.full_names]


def test_an_entity_no_asked_feature_needs_is_echoed_as_feast_does() -> None:
    query = read({"features": ["trouble:mean_bad_7d"], "entities": {"card": [1], "shop": [7]}})

    assert answer(query, [None])["metadata"]["feature_names"] == ["card", "shop", "mean_bad_7d"]
    assert len(query.commands()) == 1


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
        ({"feature_service": "cards", "features": {}}, "features", 400),
        ({"feature_service": "cards", "features": False}, "features", 400),
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
        ({"feature_service": ["cards"], "features": None}, "feature_service", 404),
        ({"feature_service": {}, "features": None}, "feature_service", 404),
        ({"full_feature_names": "yes"}, "full_feature_names", 400),
        ({"colour": 1}, "colour", 400),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], field: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        read({**GOOD, **changes})

    assert (caught.value.field, caught.value.status) == (field, status)


@pytest.mark.parametrize("payload", [None, [], 3, "x"])
def test_a_body_that_is_no_object_is_refused(payload: object) -> None:
    with pytest.raises(RequestError, match="no JSON object"):
        read(payload)


def test_timestamps_have_decimals_in_threes() -> None:
    assert [feast_timestamp(NOON_US + extra) for extra in (0, 250_000, 250_001)] == [
        "2018-04-01T12:00:00Z",
        "2018-04-01T12:00:00.250Z",
        "2018-04-01T12:00:00.250001Z",
    ]


TWICE = [
    (b'{"features": ["spending:count_1d"], "entities": {"card": [5], "card": [6]}}', "card"),
    (b'{"features": ["spending:count_1d"], "entities": {"card": [5]}, "entities": {"card": [6]}}', "entities"),
    (b'{"features": ["spending:count_1d"], "entities": {"card": [5]}, "features": ["spending:count_1d"]}', "features"),
    (b'{"full_feature_names": true, "features": ["spending:count_1d"], "entities": {"card": [5]},'
     b' "full_feature_names": false}', "full_feature_names"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), TWICE)
def test_a_field_that_stands_there_twice_is_refused_whether_its_features_are_known_or_not(
    body: bytes, field: str
) -> None:
    payload = FeastPayload(project, max_batch=3, max_depth=8)
    known = b'{"features": ["spending:count_1d"], "entities": {"card": [5]}, "full_feature_names": %b}'
    for _ in range(2):
        with pytest.raises(RequestError) as refused:
            payload.read(body)
        assert (refused.value.field, refused.value.message) == (field, "stands there twice")
        for flag in (b"true", b"false"):
            assert payload.read(known % flag).entities == {"card": [5]}


def test_a_key_may_be_written_with_a_point_and_stays_exact() -> None:
    for _ in range(2):
        query = read({"features": ["spending:count_1d"], "entities": {"card": [227.0, -0.0, 2.0**53 - 1]}})

        assert query.entities == {"card": [227, 0, 2**53 - 1]}
        assert [type(key) for key in query.entities["card"]] == [int] * 3
    for key in (0.5, 2.0**53, 1e17):
        with pytest.raises(RequestError, match="is a number; give an integer"):
            read({"features": ["spending:count_1d"], "entities": {"card": [key]}})


def test_half_a_surrogate_pair_is_called_that() -> None:
    with pytest.raises(RequestError, match="half a surrogate pair"):
        PAYLOAD.read(b'{"features": ["\\ud83d"], "entities": {"card": [1]}}')
