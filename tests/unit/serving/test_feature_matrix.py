"""Inputs of a model: by name, in its order, nulls as NaN, request features by the declared function."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from headrace import EventStream, Int64, LabelStream, Model, RequestFeatures, String
from serving.feature_matrix import FeatureMatrix, event_columns
from serving.request_event import RequestEvent
from tests.unit.serving.cards import NOON_US, model

LATE_US = NOON_US + 11 * 3_600_000_000


def event(time_us: int = NOON_US, **fields: Any) -> RequestEvent:
    values = {"payment": 1, "card": 5, "shop": 6, "amount": 12.5, "tip": None, **fields}
    return RequestEvent(values["payment"], time_us, values)


def row(**values: float | None) -> Any:
    return SimpleNamespace(status="PRESENT", values=values, version=1, watermark_us=0, own_event="merged")


ROWS = {"trouble": row(mean_bad_7d=0.25), "spending": row(mean_amount_1d=None, count_1d=3)}


def test_inputs_stand_in_the_models_order_whatever_order_they_came_in() -> None:
    names = FeatureMatrix(model).names
    filled = FeatureMatrix(model).fill([event()], [ROWS])

    expected = {
        "spending__count_1d": 3.0,
        "spending__mean_amount_1d": np.nan,
        "trouble__mean_bad_7d": 0.25,
        "night__late": 0.0,
        "amount": 12.5,
        "tip": np.nan,
    }
    assert names == tuple(expected)
    np.testing.assert_array_equal(filled, [list(expected.values())])


def test_request_features_see_each_events_own_time() -> None:
    filled = FeatureMatrix(model).fill([event(), event(LATE_US), event()], [ROWS] * 3)

    assert filled[:, 3].tolist() == [0.0, 1.0, 0.0]


def test_a_batch_equals_its_events_one_by_one() -> None:
    matrix = FeatureMatrix(model)
    events = [event(LATE_US, amount=1.0), event(tip=0.5), event(amount=0.1)]

    together = matrix.fill(events, [ROWS] * 3)

    np.testing.assert_array_equal(together, np.concatenate([matrix.fill([one], [ROWS]) for one in events]))


def test_columns_for_request_features_have_the_streams_types() -> None:
    stream = EventStream(
        "s", key="k", time="t", id="i", schema={"k": String, "n": Int64(nullable=True), "amount": Int64}
    )
    events = [
        RequestEvent(1, 9, {"i": 1, "k": "a", "n": None, "amount": 2**60 + 1}),
        RequestEvent(2, 10, {"i": 2, "k": "b", "n": 3, "amount": 1}),
    ]

    columns = event_columns(stream, events)

    assert columns["t"].dtype == np.int64
    assert columns["amount"].tolist() == [2**60 + 1, 1]
    assert (columns["k"].dtype, columns["n"].dtype) == (object, np.float64)


def test_a_request_feature_may_be_a_plain_number() -> None:
    stream = EventStream("s", key="k", time="t", id="i", schema={"k": Int64})
    labels = LabelStream("l", of=stream, value="y", delay="1d")
    constant = RequestFeatures("c", of=stream, fn=lambda tx: {"one": 1, "k2": tx["k"] * 2})
    events = [RequestEvent(n, 0, {"i": n, "k": n}) for n in range(3)]

    filled = FeatureMatrix(Model("m", features=[constant], label=labels)).fill(events, [{}] * 3)

    assert filled.tolist() == [[1.0, 0.0], [1.0, 2.0], [1.0, 4.0]]
