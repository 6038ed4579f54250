"""A file computed in pieces under a small bound has the values of one computed at once."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.compute import compute_file
from feature_store.training import file_spill
from feature_store.training.file_spill import compute_file_spilled
from feature_store.training.spill import Spill
from headrace import Project, load_project
from headrace.cli.main import main
from headrace.errors import ConfigError

_EXAMPLE = Path(__file__).parents[3] / "examples" / "fraud"
_HOUR_US = 3_600_000_000
_APRIL_US = 1_522_540_800_000_000
TEXTS = """
from headrace import DerivedFeatures, EventStream, FeatureView, Float64, Int64, LabelStream, RequestFeatures, String
from headrace import col, count, last_k, lifetime, mean, sum
sales = EventStream("sales", key="card", time="at", id="sale",
    schema={"card": String, "shop": Int64, "eur": Float64(resolution=0.01, nullable=True), "sale": String})
frauds = LabelStream("frauds", of=sales, value="fraud", delay="5h")
use = FeatureView("use", entity="card", source=sales, closed="right",
    features=[count().over("6h", lifetime()), last_k("eur", 3).over("2d"),
              sum("eur", where=col("shop") > 3).over("1d")])
risk = FeatureView("risk", entity="shop", source=sales.with_label(frauds),
    features=[count().over("3d", delay="5h"), mean("fraud").over("3d", delay="5h", empty=0.0)])
night = RequestFeatures("night", of=sales, fn=lambda sale: {"late": sale["at"] // 3_600_000_000 % 24 > 20})
ratio = DerivedFeatures(
    "ratio", of=[use, night], fn=lambda row: {"day": row["use__count_6h"] / row["use__count_lifetime"]}
)
"""


@pytest.fixture(scope="module")
def fraud() -> Project:
    return load_project(_EXAMPLE)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges so small that everything is cut many times."""
    monkeypatch.setattr(file_spill, "_FEWEST_ROWS", 1)


def events_file(path: Path, rows: int, seed: int) -> Path:
    """In no order, with ids that come twice, some of them of other customers."""
    random = np.random.default_rng(seed)
    table = pa.table(
        {
            "TX_AMOUNT": np.round(random.gamma(2.0, 30.0, rows), 2),
            "TRANSACTION_ID": random.integers(0, max(rows * 4 // 5, 1), rows),
            "TX_DATETIME": pa.array(
                _APRIL_US + random.integers(0, 1080, rows) * _HOUR_US, pa.timestamp("us", tz="UTC")
            ),
            "CUSTOMER_ID": pa.array(random.integers(0, 30, rows), pa.int32()),
            "TERMINAL_ID": pa.array(random.zipf(1.5, rows) % 50, pa.int64()),
            "TX_FRAUD": pa.array(random.integers(0, 2, rows), pa.int8()),
        }
    )
    pq.write_table(table, path, row_group_size=max(rows // 3, 1))
    return path


@pytest.mark.parametrize("memory", [1, 100_000, 10**9])
@pytest.mark.parametrize("rows", [0, 1, 700])
def test_it_equals_the_engine_that_holds_everything(
    fraud: Project, tmp_path: Path, small: None, memory: int, rows: int
) -> None:
    memory = memory if memory > 1 else 64_000
    events, out = events_file(tmp_path / "e.parquet", rows, seed=rows), tmp_path / "f.parquet"
    written = compute_file_spilled(fraud, fraud.only_stream(), events, None, out, memory_bytes=memory, folder=tmp_path)
    expected = compute_file(fraud, fraud.only_stream(), pq.read_table(events))

    assert written == (expected.num_rows, expected.num_columns)
    assert pq.read_table(out).equals(expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.parquet", "f.parquet"]


def test_texts_lists_lifetimes_labels_in_a_file_and_what_is_derived(tmp_path: Path, small: None) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "shop.py").write_text(TEXTS, encoding="utf-8")
    project = load_project(tmp_path / "shop")
    random, rows = np.random.default_rng(5), 600
    ids = [f"s{number}" for number in random.integers(0, 500, rows)]
    events = pa.table(
        {
            "sale": ids,
            "card": [f"card {number}" for number in random.zipf(1.6, rows) % 20],
            "shop": random.integers(0, 9, rows),
            "eur": pa.array([None if n % 7 == 0 else float(n % 90) for n in range(rows)], pa.float64()),
            "at": _APRIL_US + random.integers(0, 200, rows) * _HOUR_US,
        }
    )
    labels = pa.table({"sale": [ids[n] for n in random.integers(0, rows, 400)], "fraud": random.integers(0, 2, 400)})
    for name, table in (("e", events), ("l", labels)):
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=130)
    out = tmp_path / "f.parquet"
    compute_file_spilled(
        project, project.only_stream(), tmp_path / "e.parquet", tmp_path / "l.parquet", out, memory_bytes=90_000
    )

    assert pq.read_table(out).equals(compute_file(project, project.only_stream(), events, labels))


def test_the_command_writes_the_same_file_either_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = events_file(tmp_path / "e.parquet", 3_000, seed=1)
    words = ["features", "compute", "--project", str(_EXAMPLE), "--events", str(events), "--json", "--out"]

    assert main([*words, str(tmp_path / "whole.parquet")]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main([*words, str(tmp_path / "parts.parquet"), "--memory", "300KB", "--spill", str(tmp_path)]) == 0
    parts = json.loads(capsys.readouterr().out)

    assert pq.read_table(tmp_path / "parts.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))
    assert (parts["rows"], parts["features"]) == (whole["rows"], whole["features"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--memory", "much"], "--memory is 'much'"),
        (["--memory", "1GB", "--spill", "/no/such"], "/no/such is no folder"),
        (["--ray", "local"], "--ray needs --memory"),
        (["--spill", "."], "--spill needs --memory"),
    ],
)
def test_what_is_asked_wrongly_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    events = events_file(tmp_path / "e.parquet", 3, seed=1)
    given = ["--project", str(_EXAMPLE), "--events", str(events), "--out", str(tmp_path / "f.parquet")]

    assert main(["features", "compute", *given, *words]) == 1
    assert says in capsys.readouterr().err


def test_it_says_how_far_it_is_row_by_row_of_every_pass(fraud: Project, tmp_path: Path, small: None) -> None:
    events, told = events_file(tmp_path / "e.parquet", 400, seed=4), list[tuple[str, int, int]]()

    def track(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    compute_file_spilled(
        fraud, fraud.only_stream(), events, None, tmp_path / "f", memory_bytes=90_000, folder=tmp_path, track=track
    )

    passes = 2 * len(fraud.views) + 2
    assert {(what, total) for what, _, total in told} == {(f"rows in {passes} passes", 400 * passes)}
    done = [rows for _, rows, _ in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 400 * passes)
    assert len(done) > 2 * passes, "in steps smaller than a pass"


@pytest.mark.parametrize("more", [[], ["--memory", "300KB"]])
def test_labels_that_match_no_event_are_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    events = events_file(tmp_path / "e.parquet", 50, seed=1)
    labels, out = tmp_path / "l.parquet", tmp_path / "f.parquet"
    words = ["--events", str(events), "--labels", str(labels), "--out", str(out), *more]

    for first, is_odd in ((10**6, True), (0, False)):
        ids = pa.array(range(first, first + 40), pa.int64())
        pq.write_table(pa.table({"TRANSACTION_ID": ids, "TX_FRAUD": pa.array([1] * 40, pa.int8())}), labels)

        assert main(["features", "compute", "--project", str(_EXAMPLE), *words]) == 0
        assert ("none of the 40 labels is of an event" in capsys.readouterr().err) == is_odd


def test_a_wrong_value_is_named_with_the_rows_it_is_among(fraud: Project, tmp_path: Path, small: None) -> None:
    events = events_file(tmp_path / "e.parquet", 300, seed=2)
    table = pq.read_table(events)
    amounts = table["TX_AMOUNT"].to_numpy().copy()
    amounts[250] = np.inf
    pq.write_table(table.set_column(0, "TX_AMOUNT", pa.array(amounts)), events)

    with pytest.raises(ConfigError, match="the events file, rows"):
        compute_file_spilled(fraud, fraud.only_stream(), events, None, tmp_path / "f", memory_bytes=90_000)
    assert not (tmp_path / "f").exists()


def test_a_spill_keeps_the_order_of_a_bucket(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "s")
    spill.add(pa.table({"n": [0, 1, 2, 3]}), np.array([1, 0, 1, 0]))
    spill.add(pa.table({"n": [4, 5]}), np.array([1, 1]))

    found = [spill.read(bucket) for bucket in range(3)]
    assert [None if table is None else table["n"].to_pylist() for table in found] == [[1, 3], [0, 2, 4, 5], None]
    spill.remove(1)
    spill.remove(2)
    assert spill.read(1) is None
