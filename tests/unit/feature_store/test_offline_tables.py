"""Feature rows as a table of the feature log."""

import pyarrow as pa

from feature_store.offline_tables import TIMESTAMP, feature_schema, feature_table
from feature_store.plan import NEVER_US, compile_view
from headrace import EventStream, FeatureView, Float64, Int64, String, count, mean
from tests.feature_rows import feature_rows

PAY = EventStream("pay", key="shop", time="at", id="id", schema={"shop": String, "n": Int64, "eur": Float64})
PLAN = compile_view(
    FeatureView("spend", entity="shop", source=PAY, features=[count().over("1d"), mean("eur").over("1d")])
)


def test_nulls_stay_nulls_counts_stay_integers_and_never_is_null() -> None:
    rows = feature_rows(PLAN, ["a", "b"], [[2, 1.5], [0, None]], valid_from_us=[10, 20], valid_until_us=99)

    table = feature_table(PLAN, rows, created_us=1000, version=7)

    assert table.schema.equals(feature_schema(PLAN.view))
    assert table.schema.field("count_1d").type == pa.int64()
    assert table["shop"].to_pylist() == ["a", "b"]
    assert table["event_timestamp"].cast(pa.int64()).to_pylist() == [10, 20]
    assert table["count_1d"].to_pylist() == [2, 0]
    assert table["mean_eur_1d"].to_pylist() == [1.5, None]
    assert table["valid_until"].cast(pa.int64()).to_pylist() == [99, 99]
    assert table["version"].to_pylist() == [7, 7]
    assert table["created_timestamp"].to_pylist() == pa.array([1000, 1000], pa.int64()).cast(TIMESTAMP).to_pylist()


def test_a_row_that_stays_has_no_end() -> None:
    rows = feature_rows(PLAN, ["a"], [[1, 1.0]], valid_until_us=NEVER_US)

    assert feature_table(PLAN, rows, created_us=0, version=0)["valid_until"].to_pylist() == [None]
