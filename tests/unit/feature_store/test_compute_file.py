"""A file in, every feature out: names found, types accepted, values those of the oracle, wrong columns named."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.compute import compute_file
from headrace import Project, load_project
from headrace.cli.main import main
from headrace.errors import ConfigError
from tests.oracle import OracleEvent, row_values

_EXAMPLE = Path(__file__).parents[3] / "examples" / "fraud"
_DAY_US = 86_400_000_000
_APRIL_US = 1_522_540_800_000_000


@pytest.fixture(scope="module")
def project() -> Project:
    return load_project(_EXAMPLE)


def events_table(rows: int = 240, seed: int = 3) -> pa.Table:
    """45 days of few customers and terminals, in whole hours so that edges and ties are hit, in no order."""
    random = np.random.default_rng(seed)
    times = _APRIL_US + random.integers(0, 45 * 24, rows) * (_DAY_US // 24)
    return pa.table(
        {
            "TX_AMOUNT": np.round(random.gamma(2.0, 30.0, rows), 2),
            "TRANSACTION_ID": random.permutation(rows),
            "TX_DATETIME": pa.array(times, pa.timestamp("us", tz="UTC")),
            "CUSTOMER_ID": pa.array(random.integers(0, 5, rows), pa.int32()),
            "TERMINAL_ID": pa.array(random.integers(0, 4, rows), pa.uint16()),
            "TX_FRAUD": pa.array(random.integers(0, 2, rows), pa.int8()),
        }
    )


def test_every_value_is_the_oracles(project: Project) -> None:
    """Labels as known at each event: 7 days after theirs."""
    table = events_table()

    features = compute_file(project, project.only_stream(), table)

    rows = table.to_pylist()
    assert features["transaction_id"].to_pylist() == [row["TRANSACTION_ID"] for row in rows]
    times = table["TX_DATETIME"].cast(pa.int64()).to_pylist()
    for view, key in (
        (project.view("customer_activity"), "CUSTOMER_ID"),
        (project.view("terminal_risk"), "TERMINAL_ID"),
    ):
        events = [
            OracleEvent(
                key=row[key],
                t=t,
                id=row["TRANSACTION_ID"],
                values={"tx_amount": round(row["TX_AMOUNT"] * 1_000_000), "tx_fraud": row["TX_FRAUD"]},
            )
            for row, t in zip(rows, times, strict=True)
        ]
        actual = [list(row.values()) for row in features.select(list(view.full_names)).to_pylist()]
        expected = [row_values(view, [e for e in events if e.key == event.key], event.t) for event in events]
        assert actual == expected
    moments = [datetime.fromtimestamp(t // 1_000_000, tz=UTC) for t in times]
    assert features["calendar__weekend"].to_pylist() == [int(moment.weekday() >= 5) for moment in moments]
    assert features["calendar__night"].to_pylist() == [int(moment.hour <= 6) for moment in moments]


def test_counts_and_flags_are_int64_and_the_rest_float64(project: Project) -> None:
    features = compute_file(project, project.only_stream(), events_table(20))

    whole = {name for name in features.column_names if "count" in name or "calendar" in name}
    assert {f.name for f in features.schema if f.type == pa.int64()} == whole | {"transaction_id"}
    assert {f.name for f in features.schema if f.type == pa.float64()} == set(features.column_names) - whole - {
        "transaction_id"
    }


def test_a_row_delivered_twice_gets_its_features_twice_and_counts_once(project: Project) -> None:
    table = events_table(60)

    once = compute_file(project, project.only_stream(), table)
    twice = compute_file(project, project.only_stream(), pa.concat_tables([table, table]))

    assert twice.to_pylist() == once.to_pylist() * 2


def test_labels_of_a_second_file_replace_those_of_the_events(project: Project) -> None:
    """Matched by id in any order; the last of several counts; an event without one has an unknown label."""
    table = events_table(120)
    outcome = table["TX_FRAUD"].to_pylist()
    wrong_first = pa.table(
        {
            "transaction_id": table["TRANSACTION_ID"].to_pylist() * 2,
            "tx_fraud": [1 - value for value in outcome] + outcome,
        }
    )
    silent = table.set_column(5, "TX_FRAUD", pa.array([None] * 120, pa.int8()))
    stream = project.only_stream()

    assert compute_file(project, stream, table.drop(["TX_FRAUD"]), wrong_first) == compute_file(project, stream, table)
    assert compute_file(project, stream, table, wrong_first.slice(0, 0)) == compute_file(project, stream, silent)


@pytest.mark.parametrize(
    "times",
    [
        lambda column: column.cast(pa.timestamp("s", tz="UTC")),
        lambda column: column.cast(pa.timestamp("ms", tz="Europe/Brussels")),
        lambda column: column.cast(pa.timestamp("ns", tz="+02:00")),
        lambda column: column.cast(pa.int64()),
    ],
    ids=["s", "ms-zone", "ns-offset", "int64-us"],
)
def test_any_unit_of_time_with_a_zone_gives_the_same(project: Project, times) -> None:
    table = events_table(40)
    stream = project.only_stream()

    actual = compute_file(project, stream, table.set_column(2, "tx_datetime", times(table["TX_DATETIME"])))

    assert actual == compute_file(project, stream, table)


def _with(column: str, values: pa.Array) -> pa.Table:
    table = events_table(4)
    return table.set_column(table.column_names.index(column), column, values)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (events_table(4).drop(["CUSTOMER_ID"]), "no column 'customer_id'"),
        (events_table(4).append_column("customer_Id", pa.array([1, 2, 3, 4])), r"\['CUSTOMER_ID', 'customer_Id'\]"),
        (events_table(4).drop(["TX_FRAUD"]), "view 'terminal_risk' looks at labels"),
        (_with("CUSTOMER_ID", pa.array([1, None, 3, None])), "'customer_id' .*has 2 nulls, first in row 1"),
        (_with("CUSTOMER_ID", pa.array(["a", "b", "c", "d"])), "'customer_id' .*is string, not an integer"),
        (_with("CUSTOMER_ID", pa.array([1.0, 2.0, 3.0, 4.0])), "'customer_id' .*is double, not an integer"),
        (_with("TX_AMOUNT", pa.array([1.0, 2.0, float("nan"), 4.0])), "1 values cannot be counted, first nan in row 2"),
        (_with("TX_AMOUNT", pa.array([1.0, 1e300, 3.0, 4.0])), r"first 1e\+300 in row 1"),
        (_with("TX_DATETIME", pa.array([0, 1, 2, 3], pa.timestamp("us"))), "without a time zone"),
        (_with("TX_DATETIME", pa.array([1_522_540_800] * 4)), "4 times are before 1990-01-01.*in row 0"),
        (_with("TX_DATETIME", pa.array(["2018-04-01"] * 4)), "'tx_datetime' .*is string"),
        (_with("TX_FRAUD", pa.array([0, 1, 2, 0])), "1 values are no outcome, first 2 in row 2"),
    ],
)
def test_a_wrong_column_is_named_with_its_first_bad_row(project: Project, table: pa.Table, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        compute_file(project, project.only_stream(), table)


def test_the_command_writes_the_file_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, labels, out = tmp_path / "e.parquet", tmp_path / "l.parquet", tmp_path / "deep" / "f.parquet"
    table = events_table(50)
    pq.write_table(table.drop(["TX_FRAUD"]), events)
    pq.write_table(table.select(["TRANSACTION_ID", "TX_FRAUD"]), labels)

    files = ["--events", str(events), "--labels", str(labels), "--out", str(out)]
    code = main(["features", "compute", "--project", str(_EXAMPLE), *files, "--json"])

    report = json.loads(capsys.readouterr().out)
    assert (code, report["rows"], report["features"]) == (0, 50, 14)
    assert pq.read_table(out).num_rows == 50
    assert [path.name for path in out.parent.iterdir()] == ["f.parquet"]


def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "e.parquet").write_text("no parquet")

    files = ["--events", str(tmp_path / "e.parquet"), "--out", str(tmp_path / "f.parquet")]
    code = main(["features", "compute", "--project", str(_EXAMPLE), *files])

    assert code == 1
    assert "cannot be read as Parquet" in capsys.readouterr().err


def test_what_is_read_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, labels = tmp_path / "e.parquet", tmp_path / "l.parquet"
    table = events_table(50)
    pq.write_table(table.drop(["TX_FRAUD"]), events)
    pq.write_table(table.select(["TRANSACTION_ID", "TX_FRAUD"]), labels)
    (tmp_path / "linked").symlink_to(events)
    (tmp_path / "hard").hardlink_to(labels)
    before = {path: path.read_bytes() for path in (events, labels)}
    refused = {
        str(events): "is the file of --events",
        f"{tmp_path}/x/../e.parquet": "is the file of --events",
        str(tmp_path / "linked"): "is the file of --events",
        str(labels): "is the file of --labels",
        str(tmp_path / "hard"): "is the file of --labels",
        str(tmp_path): "is a folder",
        f"{events}/f.parquet": "lies below",
    }
    for out, says in refused.items():
        for more in ([], ["--memory", "1MB"]):
            words = ["--events", str(events), "--labels", str(labels), "--out", out, *more]

            assert main(["features", "compute", "--project", str(_EXAMPLE), *words]) == 1, out
            said = capsys.readouterr().err
            assert says in said
            assert "events read" not in said, "before anything is done"
    assert before == {path: path.read_bytes() for path in before}


def test_labels_for_a_stream_without_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.py").write_text(
        "from headrace import EventStream, FeatureView, Int64, count\n"
        'clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64})\n'
        'use = FeatureView("use", entity="user", source=clicks, features=[count().over("1h")])\n'
    )
    words = ["--events", "e.parquet", "--labels", "l.parquet", "--out", str(tmp_path / "f.parquet")]

    assert main(["features", "compute", "--project", str(tmp_path), *words]) == 1
    assert "stream 'clicks' has no labels" in capsys.readouterr().err


def test_the_command_says_how_far_it_is(project: Project) -> None:
    told = list[tuple[str, int, int]]()

    compute_file(project, project.only_stream(), events_table(50), track=lambda *step: told.append(step))

    views = len(project.views)
    assert told == [("rows of views computed", 50 * number, 50 * views) for number in range(views)]


def test_every_feature_is_listed(capsys: pytest.CaptureFixture[str], project: Project) -> None:
    assert main(["features", "list", "--project", str(_EXAMPLE)]) == 0

    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [name for item in (*project.views, *project.requests) for name in item.full_names]
