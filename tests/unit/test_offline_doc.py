"""What docs/offline.md says about reading the logs is true: its queries run on a log with every peculiarity."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import TIMESTAMP, event_schema, feature_schema, label_schema
from headrace.cli.main import main
from headrace.spec.project import load_project

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "offline.md").read_text(encoding="utf-8")
FRAUD = load_project(ROOT / "examples" / "fraud")
HOUR = 3_600_000_000


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def _table(schema: pa.Schema, **columns: list[Any]) -> pa.Table:
    n = len(next(iter(columns.values())))
    zero: dict[str, list[Any]] = {field.name: [0] * n for field in schema}
    zero["_late"] = [False] * n
    return pa.table(
        [pa.array((zero | columns)[field.name], pa.int64() if field.type == TIMESTAMP else None).cast(field.type)
         for field in schema], schema=schema,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Event 2 twice, 4 late; a file that another one covers; an older file with a field less; a corrected row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_HOME", raising=False)
    offline, (stream, labels) = tmp_path / ".headrace" / "data" / "offline", (FRAUD.streams[0], FRAUD.labels[0])
    events = event_schema(stream)
    rows = _table(
        events,
        transaction_id=[1, 2, 2, 3, 4],
        customer_id=[7, 7, 7, 8, 8],
        tx_amount=[10.0, 20.0, 20.0, 5.0, 1.0],
        tx_datetime=[HOUR, 2 * HOUR, 2 * HOUR, 30 * HOUR, HOUR],
        _arrival=[HOUR, 2 * HOUR, 3 * HOUR, 30 * HOUR, 31 * HOUR],
        _offset=[0, 1, 2, 3, 4],
        _late=[False, False, False, False, True],
    )
    folder = log_folder(offline, "fraud", "events", stream.name, 0)
    write_segment(rows.drop_columns(["terminal_id"]), folder, 0, 4)
    write_segment(rows.slice(1, 2), folder, 1, 2)
    outcomes = _table(label_schema(labels), transaction_id=[1, 2], tx_fraud=[0, 1], _offset=[0, 1])
    write_segment(outcomes, log_folder(offline, "fraud", "labels", labels.name, 0), 0, 1)
    view = FRAUD.view("customer_activity")
    features = _table(
        feature_schema(view),
        customer_id=[7, 7, 7, 8],
        event_timestamp=[HOUR, 2 * HOUR, 2 * HOUR, 30 * HOUR],
        created_timestamp=[1, 2, 3, 4],
        count_1d=[1, 9, 2, 1],
        mean_tx_amount_1d=[10.0, 9.0, 15.0, 5.0],
    )
    write_segment(features, log_folder(offline, "fraud", "features", view.name, 2), 0, 9)


def test_the_command_lists_the_files_that_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offline", "files", "events", "transactions", "--project", str(FRAUD.path)]) == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("transactions/partition=0/00000000000000000000-00000000000000000004.parquet")


def test_the_queries_for_duckdb() -> None:
    by_day, once, as_of = (duckdb.execute(sql).fetchall() for sql in _blocks("sql"))

    assert [(day.day, n) for day, n in by_day] == [(1, 2), (2, 1)]
    assert once == [(1, 7, 10.0), (2, 7, 20.0), (3, 8, 5.0), (4, 8, 1.0)]
    assert as_of == [(1, 1, 10.0), (2, 2, 15.0), (3, 1, 5.0), (4, None, None)]


def test_the_code_for_polars_and_pyarrow() -> None:
    found = []
    for code in _blocks("python"):
        names: dict[str, Any] = {}
        exec(code, names)
        found.append(names["result"])
    by_customer, across, frauds = found

    assert by_customer.rows() == [(7, 2, 30.0), (8, 2, 6.0)]
    assert across.rows() == [(4,)]
    assert frauds.to_pylist() == [{"transaction_id": 2, "tx_fraud": 1}]
