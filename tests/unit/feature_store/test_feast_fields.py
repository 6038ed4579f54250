"""The fields of a row are read as a Feast client reads them, and what it could not read is told apart."""

import numpy as np
import pytest

from feature_store.online.online_layout import encode_timestamp, encode_value, feature_field, timestamp_field
from feature_store.plan import compile_view
from feature_store.verification.comparison import FeatureComparison
from feature_store.verification.feast_fields import feast_fields, feast_rows
from headrace import EventStream, FeatureView, Float64, Int64, count, last_k, mean

PAY = EventStream("pay", key="card", time="at", id="id", schema={"card": Int64, "eur": Float64(resolution=0.01)})
SPEND = FeatureView(
    "spend",
    entity="card",
    source=PAY,
    features=[count().over("1h"), mean("eur").over("1h"), last_k("eur", 3).over("1h")],
)
PLAN = compile_view(SPEND)
COUNT, MEAN = encode_value(2, is_int=True), encode_value(1.5, is_int=False)
LAST, TIME = encode_value([2.0, 1.0], is_int=False), encode_timestamp(1_600_000_000_000_001)


def test_a_row_as_it_was_written() -> None:
    rows = feast_rows(PLAN, [[COUNT, MEAN, LAST, TIME], [b"", b"", encode_value([], is_int=False), b""], [None] * 4])

    nothing = [np.nan] * 5
    np.testing.assert_array_equal(rows.cells, [[2.0, 1.5, 2.0, 1.0, np.nan], nothing, nothing])
    np.testing.assert_array_equal(rows.times_us, [1_600_000_000_000_001, 0, np.nan])
    assert not rows.is_unreadable.any()


def test_fields_are_those_a_client_asks_for() -> None:
    names = ["count_1h", "mean_eur_1h", "last_3_eur_1h"]

    assert feast_fields(PLAN) == [*(feature_field("spend", name) for name in names), timestamp_field("spend")]


@pytest.mark.parametrize(
    ("place", "data", "cells"),
    [
        (0, MEAN, [0]),
        (0, b"\x20", [0]),
        (0, b"text", [0]),
        (0, encode_value(float("inf"), is_int=False), [0]),
        (0, b"\x20\x81\x80\x80\x80\x80\x80\x80\x10", [0]),  # 2**53 + 1, which no cell holds
        (0, LAST, [0]),
        (1, COUNT, [1]),
        (1, MEAN + b"\0", [1]),
        (2, MEAN, [2, 3, 4]),
        (2, b"", [2, 3, 4]),
        (2, None, [2, 3, 4]),
        (2, encode_value([1.0] * 4, is_int=False), [2, 3, 4]),
        (3, b"\x09", [5]),
        (3, b"\x08", [5]),
        (3, encode_timestamp(2**62), [5]),
    ],
)
def test_what_is_no_value_of_the_feature_is_told(place: int, data: bytes | None, cells: list[int]) -> None:
    fields: list[bytes | None] = [COUNT, MEAN, LAST, TIME]
    fields[place] = data

    rows = feast_rows(PLAN, [fields])

    assert np.flatnonzero(rows.is_unreadable[0]).tolist() == cells
    assert np.isnan(np.append(rows.cells[0], rows.times_us)[cells]).all()


def test_what_cannot_be_read_differs_even_from_null() -> None:
    comparison = FeatureComparison(["a", "b"])
    null = np.array([[np.nan, np.nan]])

    comparison.add(null, null, of=["7"], at_us=np.zeros(1, np.int64), unreadable=np.array([[True, False]]))

    assert [check.mismatches for check in comparison.checks] == [1, 0]
    assert (comparison.examples[0].feature, comparison.examples[0].logged) == ("a", None)
