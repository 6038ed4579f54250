"""Every reason to refuse a message, and what is let through."""

import json

import numpy as np
import pytest

from headrace import EventStream, Float64, Int64, LabelStream, String
from headrace.clock import parse_us
from headrace.contracts.streams import DEAD_LETTER_REASONS
from streams.formats.decode import event_decoder, label_decoder
from streams.messages.payloads import Payloads

CARDS = EventStream(
    "cards",
    key="card",
    time="at",
    id="id",
    schema={"card": Int64, "eur": Float64(resolution=0.01), "note": String(max_bytes=8, nullable=True)},
)
ARRIVAL_US = parse_us("2018-04-01T12:00:00Z")
GOOD = {"id": 7, "card": 3, "eur": 57.16, "at": "2018-04-01T12:00:00Z"}


def reason(message: bytes) -> str:
    """Why the message is refused; empty when it is not."""
    batch = event_decoder(CARDS).decode(Payloads.of([message]), np.array([ARRIVAL_US]))
    return batch.refused[0].reason if batch.refused else ""


def changed(**fields: object) -> bytes:
    return json.dumps({**GOOD, **fields}).encode()


REFUSED = {
    "text": (b"nonsense", "malformed_json"),
    "cut": (changed()[:-1], "malformed_json"),
    "two objects": (changed() + changed(), "malformed_json"),
    "not UTF-8": (b'{"id":"\xff"}', "malformed_json"),
    "half a surrogate pair": (changed(note="\ud800"), "malformed_json"),
    "a field twice": (changed()[:-1] + b',"id":8}', "malformed_json"),
    "deep nesting": (b'{"id":' + b"[" * 30_000, "too_large"),
    "array": (b"[1]", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "missing": (b'{"id":7,"card":3,"at":1}', "missing_field"),
    "missing time": (b'{"id":7,"card":3,"eur":1}', "missing_field"),
    "extra": (changed(country="NL"), "unknown_field"),
    "number in quotes": (changed(eur="57.16"), "wrong_type"),
    "5.5 as integer": (changed(card=5.5), "wrong_type"),
    "truth as integer": (changed(card=True), "wrong_type"),
    "null field": (changed(card=None), "wrong_type"),
    "nested": (changed(eur={"value": 1}), "wrong_type"),
    "number as text": (changed(note=5), "wrong_type"),
    "time as decimal": (changed(at=1522584000000000.5), "wrong_type"),
    "not a number": (changed(eur=float("nan")), "not_finite"),
    "minus infinity": (changed(eur=float("-inf")), "not_finite"),
    "overflow": (changed().replace(b"57.16", b"1e999"), "out_of_range"),
    "beyond 2**53 steps": (changed(eur=2.0**53 / 100), "out_of_range"),
    "beyond 64 bits": (changed(card=2**63), "out_of_range"),
    "the sentinel of null": (changed(card=-(2**63)), "out_of_range"),
    "thousands of digits": (changed().replace(b'"card": 3', b'"card": ' + b"3" * 9000), "out_of_range"),
    "long text": (changed(note="123456789"), "too_large"),
    "long text in bytes": (changed(note="ééééé"), "too_large"),
    "long message": (changed() + b" " * 65_536, "too_large"),
    "no such day": (changed(at="2018-02-29T00:00:00Z"), "bad_time"),
    "hour 24": (changed(at="2018-04-01T24:00:00Z"), "bad_time"),
    "nanoseconds": (changed(at="2018-04-01T00:00:00.000000001Z"), "bad_time"),
    "words": (changed(at="yesterday"), "bad_time"),
    "naive": (changed(at="2018-04-01T12:00:00"), "no_time_zone"),
    "seconds": (changed(at=1522584000), "before_earliest"),
    "negative": (changed(at=-1), "before_earliest"),
    "nanoseconds as number": (changed(at=ARRIVAL_US * 1000), "future"),
    "a digit too many": (changed(at=10**40), "future"),
    "one microsecond too far": (changed(at=ARRIVAL_US + CARDS.future_us + 1), "future"),
}


OF_OTHER_FORMATS = {"malformed_avro", "malformed_arrow", "unknown_schema", "wrong_schema"}


@pytest.mark.parametrize("case", REFUSED)
def test_garbage_is_refused_with_its_reason(case: str) -> None:
    message, expected = REFUSED[case]

    assert reason(message) == expected


def test_every_reason_but_those_of_other_places_is_tried() -> None:
    tried = {expected for _, expected in REFUSED.values()}

    assert set(DEAD_LETTER_REASONS) - tried == {"late", "bad_label", *OF_OTHER_FORMATS}


@pytest.mark.parametrize(
    "time",
    [
        "2018-04-01T12:00:00Z",
        "2018-04-01 12:00:00Z",
        "2018-04-01T14:00:00+02:00",
        "2018-04-01T14:00:00+0200",
        "2018-04-01T11:30:00.000000-00:30",
        ARRIVAL_US,
    ],
)
def test_an_instant_can_be_written_in_many_ways(time: object) -> None:
    batch = event_decoder(CARDS).decode(Payloads.of([changed(at=time)]), np.array([ARRIVAL_US]))

    assert batch.columns["at"].tolist() == [ARRIVAL_US]


def test_fractions_reach_to_the_microsecond() -> None:
    batch = event_decoder(CARDS).decode(
        Payloads.of([changed(at="2018-04-01T12:00:00.000001Z")]), np.array([ARRIVAL_US])
    )

    assert batch.columns["at"].tolist() == [ARRIVAL_US + 1]


def test_the_bounds_of_time_belong_to_the_right_side() -> None:
    assert reason(changed(at=ARRIVAL_US + CARDS.future_us)) == ""
    assert reason(changed(at=CARDS.earliest_us)) == ""


def test_an_integer_is_fine_for_a_decimal_and_null_for_a_nullable() -> None:
    batch = event_decoder(CARDS).decode(Payloads.of([changed(eur=5, note=None)]), np.array([ARRIVAL_US]))

    assert batch.columns["eur"].tolist() == [5.0]
    assert batch.nulls["note"].tolist() == [True]


def test_rows_around_refused_ones_keep_their_places() -> None:
    messages = [changed(id=1), b"x", changed(id=2, note='quo"te'), b"{}", changed(id=3)]

    batch = event_decoder(CARDS).decode(Payloads.of(messages), np.full(5, ARRIVAL_US))

    assert batch.rows.tolist() == [0, 2, 4]
    assert batch.columns["id"].tolist() == [1, 2, 3]
    assert batch.columns["note"].tolist() == [None, 'quo"te', None]
    assert [refusal.row for refusal in batch.refused] == [1, 3]


WHOLE = [("7.0", 7), ("7e0", 7), ("-0.0", 0), ("70e-1", 7), ("9007199254740991.0", 2**53 - 1)]


@pytest.mark.parametrize(("text", "value"), WHOLE)
def test_a_whole_number_may_have_a_point(text: str, value: int) -> None:
    message = changed().replace(b'"id": 7', f'"id": {text}'.encode())

    batch = event_decoder(CARDS).decode(Payloads.of([message]), np.array([ARRIVAL_US]))

    assert (batch.columns["id"].tolist(), batch.refused) == ([value], [])


@pytest.mark.parametrize("text", ["7.5", "9007199254740993.0", "-9007199254740992.0", "1e17"])
def test_a_number_with_a_point_that_is_not_whole_for_certain_is_none(text: str) -> None:
    assert reason(changed().replace(b'"id": 7', f'"id": {text}'.encode())) == "wrong_type"


FAR = [
    (-(10**40), "before_earliest", f"-1{'0' * 40} µs is before"),
    (-(2**63), "before_earliest", "-9223372036854775808 µs is before"),
    (10**40, "future", f"1{'0' * 40} µs is "),
    (10**399, "future", "an integer of 1326 bits µs is "),
    (ARRIVAL_US + 2 * 86_400_000_000, "future", f"{ARRIVAL_US + 2 * 86_400_000_000} µs is 2 days ahead"),
]


@pytest.mark.parametrize(("time", "expected", "words"), FAR)
def test_a_far_time_is_said_as_it_was_given(time: int, expected: str, words: str) -> None:
    (refusal,) = event_decoder(CARDS).decode(Payloads.of([changed(at=time)]), np.array([ARRIVAL_US])).refused

    assert (refusal.reason, refusal.detail[: len(words)]) == (expected, words)
    assert len(refusal.detail) < 200


LABELS = [(0, ""), (1, ""), (1.0, ""), (2, "bad_label"), (-1, "bad_label"), ("1", "wrong_type")]


@pytest.mark.parametrize(("value", "expected"), LABELS)
def test_a_label_is_zero_or_one(value: object, expected: str) -> None:
    labels = LabelStream("card-labels", of=CARDS, value="fraud", delay="7d")

    batch = label_decoder(labels).decode(
        Payloads.of([json.dumps({"id": 7, "fraud": value}).encode()]), np.array([ARRIVAL_US])
    )

    assert [refusal.reason for refusal in batch.refused] == ([expected] if expected else [])
