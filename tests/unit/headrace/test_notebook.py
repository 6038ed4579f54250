"""The verbs in a notebook: tables of any kind in, tables of any kind out, errors that say what to give."""

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.compute import compute_file
from headrace.cli.main import main
from headrace.errors import ConfigError, HeadraceError, RejectedError, UnavailableError
from headrace.notebook import Answer, Notebook, open_project
from headrace.notebook_inputs import keys_of
from headrace.notebook_tables import erasure_table
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


def test_features_are_listed_in_the_words_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features", "list", "--project", str(_EXAMPLE), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["features"]

    rows = open_project(_EXAMPLE, home=tmp_path).features().arrow.to_pylist()

    assert [{name: row[name] for name in ("name", "type", "of", "what")} for row in rows] == said
    assert rows[0] == {
        "name": "customer_activity__count_1d",
        "type": "Int64",
        "of": "customer_id",
        "what": "count of events over 1d, closed right",
        "kind": "count",
        "column": None,
        "window": "1d",
        "closed": "right",
    }
    flags = [row for row in rows if row["name"].startswith("calendar__")]
    assert [(row["type"], row["of"], row["window"]) for row in flags] == [("number", "transactions", None)] * 2


def test_a_definition_is_shown_as_the_command_draws_it(tmp_path: Path) -> None:
    fraud = open_project(_EXAMPLE, home=tmp_path)

    view, flags = fraud.show("terminal_risk").arrow.to_pylist(), fraud.show("calendar__night").arrow.to_pylist()

    assert len(view) == 6
    assert (view[0]["name"], view[0]["of"], view[0]["type"]) == ("terminal_risk__count_1d", "terminal_id", "Int64")
    assert view[0]["picture"].endswith("q  1d, 7d ago")
    assert [(row["name"], row["of"]) for row in flags] == [("calendar__night", "transactions")]
    assert flags[0]["picture"].startswith("def calendar_flags(tx):")
    with pytest.raises(ConfigError, match="'nothing' is no view and no feature"):
        fraud.show("nothing")


@pytest.mark.parametrize(
    "given",
    [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), np.array([1, 2], np.uint8), [np.int32(1), 2], pa.array([1, 2]),
     pa.chunked_array([[1], [2]]), pd.Series([1, 2]), pd.Series([1, 2], dtype="Int64")],
)  # fmt: skip
def test_keys_are_taken_from_any_kind_of_column(given: Any) -> None:
    assert keys_of("card", given, text=False) == [1, 2]


@pytest.mark.parametrize("given", [1, np.int64(1), np.array(1), [1]])
def test_one_key_is_one_row(given: Any) -> None:
    assert keys_of("card", given, text=False) == [1]
    assert keys_of("shop", "Köln", text=True) == ["Köln"]


@pytest.mark.parametrize("null", [None, float("nan"), pd.NA])
def test_a_key_that_is_null_is_said_to_be(null: object) -> None:
    with pytest.raises(RejectedError, match="key 1 of 'card' is null"):
        keys_of("card", [7, null], text=False)


@pytest.mark.parametrize("key", ["1", 1.5, True, np.True_, 2**63, b"1", [1]])
def test_a_key_of_another_type_is_refused(key: object) -> None:
    with pytest.raises(RejectedError, match="integers of 64 bits"):
        keys_of("card", [key], text=False)
    with pytest.raises(RejectedError, match="its keys are texts"):
        keys_of("shop", [7], text=True)


def test_what_is_no_table_no_instant_and_no_entity_is_said(tmp_path: Path) -> None:
    fraud = open_project(_EXAMPLE, home=tmp_path)

    with pytest.raises(ConfigError, match="int is no table"):
        fraud.compute(3)
    with pytest.raises(ConfigError, match="is no file"):
        fraud.compute("nowhere.parquet")
    for name, content in (("text", b"no Parquet at all"), ("empty", b""), ("cut", b"PAR1 and then PAR1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name} cannot be read as Parquet"):
            fraud.compute(tmp_path / name)
    with pytest.raises(ConfigError, match="'shop' is no entity"):
        fraud.lookup(shop=[1])
    with pytest.raises(ConfigError, match="lists of one length"):
        fraud.lookup(customer_id=[1], terminal_id=[1, 2])
    with pytest.raises(ConfigError, match="yesterday"):
        fraud.build_dataset("yesterday", "2025-01-01T00:00:00Z")
    with pytest.raises(ConfigError, match=r"at: .*yesterday"):
        fraud.lookup(at="yesterday", customer_id=1)
    with pytest.raises(ConfigError, match="do not make rows"):
        fraud.lookup()
    with pytest.raises(RejectedError, match="key 0 of 'customer_id' is null"):
        fraud.lookup(customer_id=[None])


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """A project without servers."""
    monkeypatch.setenv("HEADRACE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("HEADRACE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    return open_project(_EXAMPLE, home=tmp_path / "home")


def test_verbs_that_change_something_refuse_as_the_commands_do(alone: Notebook) -> None:
    with pytest.raises(RejectedError, match="no stream worker"):
        alone.backfill("customer_activity")
    with pytest.raises(ConfigError, match="'nothing' is not defined"):
        alone.backfill("nothing", dry_run=True)
    with pytest.raises(ConfigError, match="'colour' is no entity"):
        alone.erase("colour", 1)
    with pytest.raises(ConfigError, match="no subject was given"):
        alone.erase("customer_id", [])
    with pytest.raises(RejectedError, match="key 0 of 'customer_id' is null"):
        alone.erase("customer_id", None)
    with pytest.raises(UnavailableError):
        alone.erase("customer_id", 1, dry_run=True)
    with pytest.raises(HeadraceError):
        alone.show_dataset("nothing")
    with pytest.raises(HeadraceError):
        alone.verify_dataset("nothing")


def test_a_backfill_that_is_only_planned_is_the_plan_of_its_view(alone: Notebook) -> None:
    plan = alone.plan().arrow

    (cost,) = alone.backfill("terminal_risk", dry_run=True).arrow.to_pylist()

    assert plan["view"].to_pylist() == ["customer_activity", "terminal_risk"]
    assert cost == plan.to_pylist()[1]
    assert (cost["change"], cost["next_step"]) == ("new", "restart the worker")


def test_a_report_of_erasing_is_a_table_of_all_its_facts() -> None:
    report = {
        "removed": {"keys online": 2, "rows of the label log": 0}, "dry_run": True, "datasets": ["d1"],
        "models": ["fraud 3"], "kafka": {"transactions": "7 days"}, "notes": ["a note"],
    }  # fmt: skip

    rows = erasure_table(report).to_pylist()

    assert [tuple(row.values()) for row in rows] == [
        ("removed", "keys online", 2, None),
        ("removed", "rows of the label log", 0, None),
        ("training set", "d1", None, "rows would go"),
        ("model", "fraud 3", None, "was trained on a set with an erased subject"),
        ("kafka topic", "transactions", None, "messages stay: 7 days"),
        ("note", None, None, "a note"),
    ]
