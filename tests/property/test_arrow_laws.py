"""Laws of Arrow: a batch is its events, however their columns are typed, and JSON would make the same of each."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.streams import DEAD_LETTER_REASONS
from streams.messages.payloads import Payloads
from tests.format_cases import ARRIVAL_US, arrow_decoder, arrow_message, as_json, events, json_decoder, outcomes, same

JSON, ARROW = json_decoder(), arrow_decoder()
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}


@st.composite
def typed(draw: st.DrawFn, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    """A batch of events whose columns have types that can hold them."""
    units = [unit for unit, size in UNITS.items() if all(_fits(row["at"], size) for row in rows)]
    text = st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
    zone = draw(st.sampled_from(["UTC", "+02:00", "Europe/Amsterdam"]))
    kinds = {
        "id": pa.int64(),
        "card": draw(text),
        "amount": pa.float64(),
        "fee": pa.float64(),
        "online": pa.bool_(),
        "tries": pa.int64(),
        "note": draw(text),
        "at": pa.timestamp(draw(st.sampled_from(units)), zone),
    }
    arrays = {name: _array([row[name] for row in rows], kind) for name, kind in kinds.items()}
    if all(abs(row["id"]) < 2**31 for row in rows) and draw(st.booleans()):
        arrays["id"] = arrays["id"].cast(pa.int32())
    if all(row["tries"] is None or 0 <= row["tries"] < 256 for row in rows) and draw(st.booleans()):
        arrays["tries"] = arrays["tries"].cast(pa.uint8()).dictionary_encode()
    if draw(st.booleans()):
        arrays["extra"] = pa.array([[1], *[None] * (len(rows) - 1)], pa.list_(pa.int64()))
    if all(row["fee"] is None for row in rows) and draw(st.booleans()):
        del arrays["fee"]
    names = draw(st.permutations(list(arrays)))
    return pa.RecordBatch.from_arrays([arrays[name] for name in names], names=list(names))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        micros = [_micros(value) for value in values]
        scaled = [m * 1000 if kind.unit == "ns" else m // UNITS[kind.unit] for m in micros]
        return pa.array(scaled, pa.int64()).cast(kind)
    return pa.array(values, kind)


def _micros(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _fits(moment: datetime, size_us: int) -> bool:
    return _micros(moment) % size_us == 0 and abs(_micros(moment)) < 9 * 10**15


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """Events, and one message that holds them in one batch or several."""
    step_us = draw(st.sampled_from([1, 1_000, 1_000_000]))
    rows = draw(st.lists(events(time_step_us=step_us), min_size=1, max_size=6))
    batch = draw(typed(rows))
    cut = draw(st.integers(0, len(rows)))
    return rows, arrow_message([batch[:cut], batch[cut:]])


@settings(max_examples=150, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=3))
def test_every_row_is_what_json_makes_of_its_event(given: list[tuple[list[dict[str, Any]], bytes]]) -> None:
    found = outcomes(ARROW, [message for _, message in given])

    for (rows, _), got in zip(given, found, strict=True):
        wanted = [outcome for (outcome,) in outcomes(JSON, [as_json(row) for row in rows])]
        events_of = [outcome for outcome in wanted if isinstance(outcome, dict)]
        reasons = sorted(outcome for outcome in wanted if isinstance(outcome, str))
        assert sorted(outcome for outcome in got if isinstance(outcome, str)) == reasons
        values = [outcome for outcome in got if isinstance(outcome, dict)]
        assert len(values) == len(events_of)
        assert all(same(left, right) for left, right in zip(values, events_of, strict=True)), (values, events_of)


@settings(max_examples=100, deadline=None)
@given(messages(), st.data())
def test_a_cut_message_gives_no_event_it_does_not_hold(
    given: tuple[list[dict[str, Any]], bytes], data: st.DataObject
) -> None:
    _, message = given
    whole = outcomes(ARROW, [message])[0]

    (got,) = outcomes(ARROW, [message[: data.draw(st.integers(0, len(message) - 1))]])

    values = [outcome for outcome in got if isinstance(outcome, dict)]
    assert got
    assert all(any(same(value, known) for known in whole) for value in values)
    assert all(isinstance(outcome, dict) or outcome in DEAD_LETTER_REASONS for outcome in got)


@settings(max_examples=150, deadline=None)
@given(messages(), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_are_events_or_are_refused(
    given: tuple[list[dict[str, Any]], bytes], changes: list[tuple[int, int]]
) -> None:
    message = bytearray(given[1])
    for place, byte in changes:
        message[place % len(message)] = byte

    (got,) = outcomes(ARROW, [bytes(message)])

    assert all(isinstance(outcome, dict) or outcome in DEAD_LETTER_REASONS for outcome in got)


@settings(max_examples=100, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=3), st.lists(st.binary(max_size=60), max_size=3), st.randoms())
def test_what_stands_beside_a_message_does_not_change_it(
    given: list[tuple[list[dict[str, Any]], bytes]], others: list[bytes], random: Any
) -> None:
    every = [*(message for _, message in given), *others]
    alone = [outcomes(arrow_decoder(), [message])[0] for message in every]
    order = list(range(len(every)))
    random.shuffle(order)

    together = outcomes(ARROW, [every[place] for place in order])

    for place, got in zip(order, together, strict=True):
        assert len(got) == len(alone[place])
        assert all(same(left, right) for left, right in zip(got, alone[place], strict=True))


def test_rows_of_a_batch_keep_their_order_and_their_message() -> None:
    batch = pa.record_batch(
        {
            "id": [1, 2, 3],
            "card": ["a", "b", "c" * 99],
            "amount": [1.0, 2.0, 3.0],
            "online": [True, False, True],
            "at": pa.array([ARRIVAL_US] * 3, pa.timestamp("us", "UTC")),
        }
    )
    message = arrow_message([batch])

    decoded = ARROW.decode(Payloads.of([b"x", message, message]), np.full(3, ARRIVAL_US))

    assert decoded.rows.tolist() == [1, 1, 2, 2]
    assert decoded.columns["id"].tolist() == [1, 2, 1, 2]
    assert [(refusal.row, refusal.reason, refusal.events) for refusal in decoded.refused] == [
        (0, "malformed_arrow", 1),
        (1, "too_large", 1),
        (2, "too_large", 1),
    ]
    assert "row 2: field 'card'" in decoded.refused[1].detail
