"""A request's event is accepted over HTTP exactly when the stream accepts it as a message, with the same values."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace import Bool, EventStream, Float64, Int64, String
from serving.http.json_body import read_json
from serving.http.request_error import RequestError
from serving.request_event import EventReader
from streams.formats.message_check import Refused, check_message, check_time_bounds

NOW_US = 1_522_584_000_000_000
STREAM = EventStream(
    "visits",
    key="user",
    time="at",
    id="visit",
    schema={
        "user": String(max_bytes=8),
        "pages": Int64(nullable=True),
        "spent": Float64(resolution=0.01),
        "new": Bool(nullable=True),
    },
)
GOOD: dict[str, Any] = {"visit": 1, "user": "anna", "pages": 3, "spent": 1.25, "new": True, "at": NOW_US}

numbers = st.one_of(
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        [2**53 // 100, 2**53 // 100 + 1, -(2**63), 2**63 - 1, 0.005, -0.0, 90071992547409.91, 90071992547409.92]
    ),
)
instants = st.one_of(
    st.integers(NOW_US - 10, NOW_US + 3_600_000_001),
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.sampled_from(
        [
            "2018-04-01T12:00:00Z",
            "2018-04-01 12:00:00.5+0230",
            "2018-04-01T12:00:00.123456-11:59",
            "2018-04-01T12:00:00",
            "2018-04-01",
            "2018-04-01T12:00Z",
            "2018-13-01T12:00:00Z",
            "2018-04-01T24:00:00Z",
            "2018-04-01T12:00:60Z",
            "2018-04-01T12:00:00+24:00",
            "2018-04-01T12:00:00+02:60",
            "2018-04-01T12:00:00.1234567Z",
            "1989-12-31T23:59:59Z",
            "1990-01-01T01:00:00+01:00",
            "٢٠١٨-04-01T12:00:00Z",
        ]
    ),
)
anything = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=9), instants, st.just([]), st.just({}))
changes = st.dictionaries(st.sampled_from([*GOOD, "colour"]), anything, max_size=3)


def by_stream(data: bytes) -> dict[str, Any] | None:
    try:
        values = check_message(data, STREAM.schema, STREAM.time)
        check_time_bounds(values[STREAM.time], NOW_US, STREAM.earliest_us, STREAM.future_us)
    except Refused:
        return None
    return values


def by_request(data: bytes) -> dict[str, Any] | None:
    try:
        event = EventReader(STREAM).read(read_json(data, max_depth=8), now_us=NOW_US)
    except RequestError:
        return None
    return {**event.fields, STREAM.time: event.time_us}


@settings(max_examples=400)
@given(changed=changes, missing=st.sets(st.sampled_from(list(GOOD)), max_size=1))
@example(changed={}, missing=set())
@example(changed={"spent": 90071992547409.91}, missing=set())
@example(changed={"at": "2018-04-01T12:00:00+24:00"}, missing=set())
@example(changed={"at": "2018-04-01T24:00:00Z"}, missing=set())
@example(changed={"at": "0001-01-01T00:00:00+05:00"}, missing=set())
@example(changed={"at": "9999-12-31T23:59:59-05:00"}, missing=set())
def test_both_accept_the_same_events_with_the_same_values(changed: dict[str, Any], missing: set[str]) -> None:
    message = {**{name: value for name, value in GOOD.items() if name not in missing}, **changed}
    data = json.dumps(message).encode()

    assert repr(by_request(data)) == repr(by_stream(data))
