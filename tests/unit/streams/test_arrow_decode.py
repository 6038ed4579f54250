"""Every reason to refuse an Arrow message or a row of one, in words; what types a column may have."""

import tracemalloc
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.config import StreamSettings
from streams.formats.decode import Decoded
from streams.messages.payloads import Payloads
from tests.format_cases import ARRIVAL_US, arrow_decoder, arrow_message

US = pa.timestamp("us", "UTC")
BOUNDS = StreamSettings()


def batch(rows: int = 2, **changes: Any) -> pa.RecordBatch:
    """Good rows with some columns replaced, or left out where the change is None."""
    columns: dict[str, Any] = {
        "id": pa.array(range(rows), pa.int64()),
        "card": ["a"] * rows,
        "amount": [1.25] * rows,
        "online": [True] * rows,
        "tries": pa.array([3] * rows, pa.int64()),
        "at": pa.array([ARRIVAL_US] * rows, US),
    }
    columns |= changes
    return pa.record_batch({name: column for name, column in columns.items() if column is not None})


def decode(*messages: bytes) -> Decoded:
    return arrow_decoder().decode(Payloads.of(messages), np.full(len(messages), ARRIVAL_US))


def test_good_rows_are_read_and_absent_nullable_columns_are_null() -> None:
    decoded = decode(arrow_message([batch()]))

    assert decoded.columns["amount"].tolist() == [1.25, 1.25]
    assert decoded.columns["at"].tolist() == [ARRIVAL_US] * 2
    assert decoded.nulls["fee"].tolist() == [True, True]
    assert np.isnan(decoded.columns["fee"]).all()
    assert decoded.columns["note"].tolist() == [None, None]


GOOD = arrow_message([batch()])
WHOLE = {
    "JSON": (b'{"id":7}', "malformed_arrow", ""),
    "cut": (GOOD[:-20], "malformed_arrow", "it ends at byte"),
    "one byte more": (GOOD + b"\x00", "malformed_arrow", "the message does not"),
    "two streams": (GOOD + GOOD, "malformed_arrow", "the message does not"),
    "an Arrow file": (b"ARROW1\x00\x00" + GOOD, "malformed_arrow", ""),
    "compressed": (arrow_message([batch()], compression="zstd"), "malformed_arrow", "compressed"),
    "too many rows": (arrow_message([batch(BOUNDS.max_arrow_rows + 1)]), "too_large", "rows; a message may have"),
    "too many bytes": (GOOD + bytes(BOUNDS.max_arrow_bytes), "too_large", "bytes; a message may have"),
    "a column missing": (arrow_message([batch(amount=None)]), "wrong_schema", "column 'amount' is missing"),
    "a text for a number": (
        arrow_message([batch(id=["1", "2"])]),
        "wrong_schema",
        "column 'id' is string; it must be Int64",
    ),
    "a decimal with a scale beyond all digits": (
        arrow_message([batch(amount=pa.array([Decimal("1E3")] * 2, pa.decimal128(9, -3)))]),
        "wrong_schema",
        "decimal128(9, -3)",
    ),
    "unsigned 64 bits": (arrow_message([batch(id=pa.array([1, 2], pa.uint64()))]), "wrong_schema", "uint64"),
    "a number for a time": (
        arrow_message([batch(at=[ARRIVAL_US] * 2)]),
        "wrong_schema",
        "it must be a timestamp with a zone",
    ),
    "no zone": (
        arrow_message([batch(at=pa.array([ARRIVAL_US] * 2, pa.timestamp("us")))]),
        "no_time_zone",
        "give it the zone UTC",
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_a_message_that_cannot_be_used_is_refused_as_a_whole(case: str) -> None:
    message, reason, words = WHOLE[case]

    decoded = decode(message)

    assert len(decoded.rows) == 0
    (refusal,) = decoded.refused
    assert (refusal.reason, words in refusal.detail) == (reason, True), refusal


def test_a_refused_message_counts_the_events_in_it() -> None:
    (refusal,) = decode(arrow_message([batch(amount=None)])).refused

    assert refusal.events == 2


ROWS = {
    "null": ({"id": pa.array([1, None])}, "wrong_type", "row 1: field 'id' is null"),
    "not a number": ({"amount": [1.0, float("nan")]}, "not_finite", "row 1: field 'amount' is nan"),
    "infinite": ({"amount": [1.0, float("inf")]}, "not_finite", "row 1"),
    "out of range": ({"amount": [1.0, 1e300]}, "out_of_range", "row 1"),
    "the sentinel of null": ({"id": [1, -(2**63)]}, "out_of_range", "row 1"),
    "a long text": ({"card": ["a", "b" * 13]}, "too_large", "row 1: field 'card' has 13 bytes"),
    "a long text in a dictionary": (
        {"card": pa.array(["a", "b" * 13]).dictionary_encode()},
        "too_large",
        "row 1: field 'card' has 13 bytes",
    ),
    "nanoseconds": (
        {"at": pa.array([ARRIVAL_US * 1000, ARRIVAL_US * 1000 + 1], pa.timestamp("ns", "UTC"))},
        "bad_time",
        "row 1: field 'at' has nanoseconds",
    ),
    "null time": ({"at": pa.array([ARRIVAL_US, None], US)}, "wrong_type", "row 1: field 'at' is null"),
    "seconds beyond 64 bits of microseconds": (
        {"at": pa.array([1, 2**62], pa.int64()).cast(pa.timestamp("s", "UTC"))},
        "before_earliest",
        "row 0: 1000000 µs is before",
    ),
    "seconds far beyond 64 bits of microseconds": (
        {"at": pa.array([ARRIVAL_US // 10**6, 2**62], pa.int64()).cast(pa.timestamp("s", "UTC"))},
        "future",
        "row 1: 4611686018427000000 µs or further is",
    ),
    "the earliest time of 64 bits": (
        {"at": pa.array([ARRIVAL_US, -(2**63)], US)},
        "before_earliest",
        "row 1: -9223372036854775808 µs",
    ),
    "future": ({"at": pa.array([ARRIVAL_US, ARRIVAL_US + 10**12], US)}, "future", "row 1"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_no_event_may_be_is_refused_and_the_others_are_not(case: str) -> None:
    columns, reason, words = ROWS[case]

    decoded = decode(arrow_message([batch(**columns)]))

    assert (decoded.refused[0].reason, words in decoded.refused[0].detail) == (reason, True), decoded.refused
    assert len(decoded.rows) + sum(refusal.events for refusal in decoded.refused) == 2


def test_many_bad_rows_make_one_refusal() -> None:
    (refusal,) = decode(arrow_message([batch(), batch(100, card=["x" * 20] * 100)])).refused

    assert refusal.events == 100
    assert refusal.detail.startswith("row 2: ")
    assert refusal.detail.endswith("and 99 more rows")


DECIMALS = ["0.30", "-0.05", "123456789.01", "0.00", "-7.10", "90071992547409.93"]


@pytest.mark.parametrize("scale", [2, 3, 20])
def test_a_decimal_is_the_double_its_digits_name(scale: int) -> None:
    given = [Decimal(text) for text in DECIMALS if scale < 20 or len(text) < 8]
    rows = len(given)

    decoded = decode(arrow_message([batch(rows, amount=pa.array(given, pa.decimal128(30, scale)))]))

    accepted = [float(value) for value in given if abs(value) < 2**53 / 100]
    assert decoded.columns["amount"].tolist() == accepted


def test_slices_of_decimals_and_texts_are_read_where_they_begin() -> None:
    whole = batch(6, amount=pa.array([Decimal(n) for n in range(6)], pa.decimal128(9, 2)), card=list("abcdef"))

    decoded = decode(arrow_message([whole[4:]]))

    assert decoded.columns["amount"].tolist() == [4.0, 5.0]
    assert decoded.columns["card"].tolist() == ["e", "f"]


def test_an_empty_stream_is_no_event_and_no_error() -> None:
    decoded = decode(arrow_message([batch()[:0]]))

    assert (len(decoded.rows), decoded.refused) == (0, [])


def test_a_long_text_that_many_rows_share_takes_its_memory_once() -> None:
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(60_000, dtype=np.int8)), ["x" * 1_000_000])
    message = arrow_message([batch(60_000, card=text)])
    arrow_before = pa.default_memory_pool().max_memory()
    tracemalloc.start()

    (refusal,) = decode(message).refused

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.reason == "too_large"
    assert peak < 100_000_000
    assert pa.default_memory_pool().max_memory() - arrow_before < 100_000_000


def test_columns_without_bytes_cannot_claim_rows() -> None:
    """An array of nulls of any length takes no space in a message."""
    message = arrow_message([pa.record_batch({"x": pa.nulls(123_457)})])
    message = message.replace((123_457).to_bytes(8, "little"), (2**40).to_bytes(8, "little"))

    (refusal,) = decode(message).refused

    assert refusal.reason == "too_large"


def test_a_column_of_nulls_without_a_type_is_null() -> None:
    decoded = decode(arrow_message([batch(fee=pa.nulls(2), note=pa.nulls(2))]))

    assert (decoded.nulls["fee"].tolist(), decoded.columns["note"].tolist()) == ([True, True], [None, None])
    assert decode(arrow_message([batch(id=pa.nulls(2))])).refused[0].reason == "wrong_type"


def test_undeclared_columns_of_any_type_are_passed_over() -> None:
    extra = {
        "list": [[1], None],
        "struct": [{"a": 1}, None],
        "null": pa.nulls(2),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["x"])),
        "view": pa.array(["a", "b" * 40], pa.string_view()),
    }

    decoded = decode(arrow_message([batch(**extra)]))

    assert (len(decoded.rows), decoded.refused) == (2, [])
