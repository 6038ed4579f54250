"""The verbs in a notebook: tables of any kind in, tables of any kind out, errors that say what to give."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.compute import compute_file
from headrace.errors import ConfigError
from headrace.notebook import Answer, open_project
from tests.unit.feature_store.test_compute_file import events_table

_EXAMPLE = Path(__file__).parents[3] / "examples" / "fraud"


def test_any_kind_of_table_gives_the_same_features(tmp_path: Path) -> None:
    fraud, events = open_project(_EXAMPLE, home=tmp_path), events_table(60)
    expected = compute_file(fraud.project, fraud.project.only_stream(), events)
    pq.write_table(events, tmp_path / "events.parquet")

    for given in (events, events.to_pandas(), duckdb.from_arrow(events), tmp_path / "events.parquet"):
        assert fraud.compute(given).arrow.equals(expected)


def test_an_answer_is_arrow_pandas_and_duckdb(tmp_path: Path) -> None:
    answer = Answer(pa.table({"n": pa.array([1, None, 2**60 + 1]), "x": [0.5, None, 1.5]}))

    assert answer.pandas()["n"].tolist()[2] == 2**60 + 1
    assert answer.duckdb().filter("n > 1").fetchall() == [(2**60 + 1, 1.5)]
    assert "3 rows, 2 columns" in answer._repr_html_()


def test_features_are_listed_with_type_and_window(tmp_path: Path) -> None:
    rows = open_project(_EXAMPLE, home=tmp_path).features().arrow.to_pylist()

    assert rows[0] == {
        "name": "customer_activity__count_1d",
        "type": "int64",
        "entity": "customer_id",
        "kind": "count",
        "column": None,
        "window": "1d",
        "closed": "right",
    }
    assert {row["name"] for row in rows} >= {"terminal_risk__mean_tx_fraud_30d", "calendar__weekend"}


def test_what_is_no_table_no_instant_and_no_entity_is_said(tmp_path: Path) -> None:
    fraud = open_project(_EXAMPLE, home=tmp_path)

    with pytest.raises(ConfigError, match="int is no table"):
        fraud.compute(3)
    with pytest.raises(ConfigError, match="is no file"):
        fraud.compute("nowhere.parquet")
    with pytest.raises(ConfigError, match="'shop' is no entity"):
        fraud.lookup(shop=[1])
    with pytest.raises(ConfigError, match="lists of one length"):
        fraud.lookup(customer_id=[1], terminal_id=[1, 2])
    with pytest.raises(ConfigError, match="yesterday"):
        fraud.build_dataset("yesterday", "2025-01-01T00:00:00Z")
