"""Events of requests: the rules of the stream, and errors that name the field."""

from typing import Any

import pytest

from headrace import Bool, EventStream, String
from serving.http.request_error import RequestError
from serving.request_event import EventReader
from tests.unit.serving.cards import NOON_US, payments

GOOD = {"payment": 7, "at": "2018-04-01T12:00:00Z", "card": 1, "shop": 2, "amount": 12.5}
visits = EventStream(
    "visits", key="user", time="at", id="visit", schema={"user": String(max_bytes=4), "visit": String, "new": Bool}
)


def read(changes: dict[str, Any], *, now_us: int = NOON_US) -> Any:
    return EventReader(payments).read({**GOOD, **changes}, now_us=now_us, where="event.")


def test_a_good_event_is_read_with_its_nulls() -> None:
    event = read({})

    assert (event.id, event.time_us) == (7, NOON_US)
    assert event.fields == {"payment": 7, "card": 1, "shop": 2, "amount": 12.5, "tip": None}


@pytest.mark.parametrize("time", [NOON_US, "2018-04-01T14:00:00+02:00", "2018-04-01T12:00:00.000000Z"])
def test_a_time_may_be_written_with_any_offset_or_as_microseconds(time: object) -> None:
    assert read({"at": time}).time_us == NOON_US


@pytest.mark.parametrize(("given", "kept"), [(3, "3.0"), (2.344, "2.344"), (-0.0, "0.0"), (-0.5, "-0.5")])
def test_decimals_are_kept_as_given_as_the_stream_keeps_them(given: float, kept: str) -> None:
    assert repr(read({"amount": given}).fields["amount"]) == kept


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"card": None}, "event.card", "is null"),
        ({"card": "1"}, "event.card", "a text; give an integer"),
        ({"card": 1.5}, "event.card", "a number; give an integer"),
        ({"card": 2.0**53}, "event.card", "a number; give an integer"),
        ({"card": True}, "event.card", "give an integer"),
        ({"card": 2**63}, "event.card", "64 bits"),
        ({"card": -(2**63)}, "event.card", "64 bits"),
        ({"amount": "12"}, "event.amount", "give a number"),
        ({"amount": True}, "event.amount", "give a number"),
        ({"amount": [1]}, "event.amount", "an array; give a number"),
        ({"amount": 2.0**53}, "event.amount", "out of range"),
        ({"amount": 10**400}, "event.amount", "out of range"),
        ({"amount": 1e308}, "event.amount", "out of range"),
        ({"colour": "red"}, "event.colour", "no such field"),
        ({"at": "2018-04-01T12:00:00"}, "event.at", "no time zone"),
        ({"at": "yesterday"}, "event.at", "is no time"),
        ({"at": "2018-04-01"}, "event.at", "is no time"),
        ({"at": "20180401T120000Z"}, "event.at", "is no time"),
        ({"at": "2018-04-01T12:00:00.1234567Z"}, "event.at", "is no time"),
        ({"at": "2018-02-30T12:00:00Z"}, "event.at", "day is out of range"),
        ({"at": 1.5}, "event.at", "is a number"),
        ({"at": None}, "event.at", "is missing"),
        ({"at": -1}, "event.at", "before 1990"),
        ({"at": "2018-04-01T13:00:00.000001Z"}, "event.at", "ahead of now"),
        ({"at": 10**30}, "event.at", "ahead of now"),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(changes)

    assert (caught.value.field, caught.value.status) == (field, 400)
    assert words in caught.value.message


def test_a_missing_field_is_named() -> None:
    with pytest.raises(RequestError) as caught:
        EventReader(payments).read({"payment": 1, "at": NOON_US}, now_us=NOON_US)

    assert (caught.value.field, caught.value.message) == ("card", "is missing")


@pytest.mark.parametrize("value", [None, 3, "x", [], True])
def test_an_event_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(RequestError, match="JSON object"):
        EventReader(payments).read(value, now_us=NOON_US, where="events[2].")


def test_the_future_bound_is_inclusive() -> None:
    assert read({"at": "2018-04-01T13:00:00Z"}).time_us == NOON_US + 3_600_000_000


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"user": "abcde"}, "user"), ({"user": "äöü"}, "user"), ({"new": 1}, "new"), ({"visit": 3}, "visit")],
)
def test_texts_are_bounded_in_bytes_and_flags_are_flags(changes: dict[str, Any], field: str) -> None:
    good = {"user": "anna", "visit": "a1", "new": True, "at": NOON_US}

    assert EventReader(visits).read(good, now_us=NOON_US).fields["user"] == "anna"
    with pytest.raises(RequestError) as caught:
        EventReader(visits).read({**good, **changes}, now_us=NOON_US)
    assert caught.value.field == field
