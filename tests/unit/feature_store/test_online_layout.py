"""Bytes of online rows, against examples worked out by hand from Feast's format."""

from dataclasses import replace

import numpy as np
import pytest

from feature_store.online.online_layout import (
    StoredRow,
    decode_row,
    decode_timestamp,
    decode_value,
    encode_row,
    encode_timestamp,
    encode_value,
    entity_key,
    feature_field,
    row_field,
    timestamp_field,
)
from feature_store.sketch_layout import encode_sketches
from headrace.errors import IntegrityError


def _row(events: int | None = 2) -> StoredRow:
    return StoredRow(
        definition=0xABCDEF123456,
        version=7,
        valid_from_us=-5,
        valid_until_us=2**63 - 1,
        watermark_us=9,
        values=np.array([3.0, np.nan]),
        times_us=None if events is None else np.arange(events, dtype=np.int64),
        ids=None if events is None else np.arange(events, dtype=np.int64) - 1,
        inputs=None if events is None else np.arange(events, dtype=np.int64).reshape(1, events) * 100,
    )


def test_entity_key_of_an_integer_is_feasts() -> None:
    expected = "01000000 02000000 07000000" + b"user_id".hex() + "04000000 08000000 6202000000000000" + b"proj".hex()

    assert entity_key("user_id", 610, "proj") == bytes.fromhex(expected)


def test_entity_key_of_a_text_carries_its_length_in_bytes() -> None:
    expected = "01000000 02000000 04000000" + b"shop".hex() + "02000000 05000000" + "Köln".encode().hex() + b"p".hex()

    assert entity_key("shop", "Köln", "p") == bytes.fromhex(expected)


def test_hash_fields_have_the_names_feast_asks_for() -> None:
    assert feature_field("customer_activity", "count_1d").hex() == "61d7e288"
    assert timestamp_field("customer_activity") == b"_ts:customer_activity"
    assert row_field("customer_activity") == b"_hr:customer_activity"


@pytest.mark.parametrize(
    ("value", "is_int", "expected"),
    [
        (0, True, "2000"),
        (300, True, "20ac02"),
        (-1, True, "20ffffffffffffffffff01"),
        (0.0, False, "290000000000000000"),
        (1.5, False, "29000000000000f83f"),
        (None, True, ""),
        (None, False, ""),
        (float("nan"), False, ""),
    ],
)
def test_values_are_feasts_protobuf(value: float | None, is_int: bool, expected: str) -> None:
    data = encode_value(value, is_int=is_int)

    assert data.hex() == expected
    assert decode_value(data) == (None if expected == "" else value)


@pytest.mark.parametrize("instant_us", [0, 1, 999_999, 1_000_000, 1_522_540_800_000_001, -1, -1_000_000])
def test_timestamps_come_back(instant_us: int) -> None:
    assert decode_timestamp(encode_timestamp(instant_us)) == instant_us


@pytest.mark.parametrize("events", [None, 0, 1, 5])
def test_a_row_comes_back(events: int | None) -> None:
    row = _row(events)

    back = decode_row(encode_row(row))

    for name in ("definition", "version", "valid_from_us", "valid_until_us", "watermark_us"):
        assert getattr(back, name) == getattr(row, name)
    for name in ("values", "times_us", "ids", "inputs"):
        assert np.array_equal(getattr(back, name), getattr(row, name), equal_nan=name == "values"), name


def test_sketches_behind_the_state_come_back() -> None:
    sketches = encode_sketches((b"registers", b""))
    row = replace(_row(3), sketches=sketches)

    assert decode_row(encode_row(row)).sketches == sketches
    assert decode_row(encode_row(_row(3))).sketches == b""


def test_a_view_without_inputs_keeps_its_events() -> None:
    row = _row(3)
    counted = StoredRow(
        **{name: getattr(row, name) for name in row.__slots__ if name != "inputs"}, inputs=np.empty((0, 3), np.int64)
    )

    back = decode_row(encode_row(counted))

    assert back.times_us is not None
    assert back.times_us.tolist() == [0, 1, 2]
    assert back.inputs is not None
    assert back.inputs.shape == (0, 3)


@pytest.mark.parametrize("damage", [lambda b: b[:40], lambda b: b[:-1], lambda b: b[:-8], lambda b: b"\x09" + b[1:]])
def test_damaged_rows_are_refused(damage) -> None:
    with pytest.raises(IntegrityError):
        decode_row(damage(encode_row(_row())))


def test_values_of_other_types_are_refused() -> None:
    with pytest.raises(IntegrityError, match="no number"):
        decode_value(b"\x12\x01a")
    with pytest.raises(IntegrityError, match="middle of a number"):
        decode_value(b"\x20\x80")
    with pytest.raises(IntegrityError, match="no timestamp"):
        decode_timestamp(b"\x18\x01")
