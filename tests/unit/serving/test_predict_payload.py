"""The three forms of a prediction request."""

from typing import Any

import pytest

from headrace import EventStream, Int64, LabelStream, Model
from serving.http.request_error import RequestError
from serving.predict_payload import PredictPayload
from tests.unit.serving.cards import NOON_US, model

EVENT = {"payment": 7, "at": NOON_US, "card": 1, "shop": 2, "amount": 12.5}
PAYLOAD = PredictPayload(model, max_batch=3)


@pytest.mark.parametrize(
    ("payload", "count", "batch"), [(EVENT, 1, False), ({"event": EVENT}, 1, False), ({"events": [EVENT] * 3}, 3, True)]
)
def test_one_event_bare_or_wrapped_or_several(payload: Any, count: int, batch: bool) -> None:
    events, many = PAYLOAD.read(payload, now_us=NOON_US)

    assert ([event.id for event in events], many) == ([7] * count, batch)


@pytest.mark.parametrize(
    ("payload", "field", "status"),
    [
        ([EVENT], "", 400),
        (None, "", 400),
        ({}, "card", 400),
        ({"event": None}, "event", 400),
        ({"event": {**EVENT, "amount": "x"}}, "event.amount", 400),
        ({"event": EVENT, "card": 1}, "card", 400),
        ({"events": EVENT}, "events", 400),
        ({"events": []}, "events", 400),
        ({"events": [EVENT] * 4}, "events", 413),
        ({"events": [EVENT, {**EVENT, "shop": None}]}, "events[1].shop", 400),
        ({"events": [EVENT, 3]}, "events[1]", 400),
        ({"events": [EVENT], "event": EVENT}, "event", 400),
    ],
)
def test_a_bad_request_names_the_field(payload: Any, field: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        PAYLOAD.read(payload, now_us=NOON_US)

    assert (caught.value.field, caught.value.status) == (field, status)


def test_a_stream_whose_own_field_is_called_event_is_sent_bare() -> None:
    stream = EventStream("s", key="event", time="t", id="i", schema={"event": Int64})
    odd = Model("odd", features=["event"], label=LabelStream("l", of=stream, value="y", delay="1d"))

    events, batch = PredictPayload(odd, 3).read({"event": 5, "i": 1, "t": NOON_US}, now_us=NOON_US)

    assert (events[0].fields["event"], batch) == (5, False)
