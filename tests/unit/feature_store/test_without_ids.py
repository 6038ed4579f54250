"""A file of events without ids: rows count in their order, each once, whatever is held at a time."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.compute import compute_file
from feature_store.offline.log_schema import check_schema
from feature_store.offline_tables import event_schema
from feature_store.training import file_spill
from feature_store.training.file_spill import compute_file_spilled
from headrace import EventStream, FeatureView, Float64, Int64, Project, count, first, last_k, load_project
from headrace.cli.main import main
from headrace.errors import ConfigError
from headrace.notebook import open_project

_HOUR_US = 3_600_000_000
_APRIL_US = 1_522_540_800_000_000
DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, RequestFeatures, col, count, first, last_k, mean
clicks = EventStream("clicks", key="card", time="at", id=ID, schema={"card": Int64, "page": Int64, "s": Float64})
use = FeatureView("use", entity="card", source=clicks, closed="right",
    features=[count().over("6h", "2d"), first("s").over("1d"), last_k("page", 3).over("2d")])
pages = FeatureView("pages", entity="page", source=clicks, features=[mean("s", where=col("card") > 2).over("1d")])

def late(click):
    assert "_id" not in click  # nobody writes it
    return {"late": click["at"] // 3_600_000_000 % 24 > 20}

night = RequestFeatures("night", of=clicks, fn=late)
"""


def project_in(folder: Path, name: str) -> Project:
    """With ids called so; None: without."""
    folder.mkdir(parents=True)
    (folder / "clicks.py").write_text(DEFINITIONS.replace("ID", name), encoding="utf-8")
    return load_project(folder)


def table(rows: int, seed: int = 4) -> pa.Table:
    """In no order of time, many at one instant, some of them equal in everything."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "CARD": random.integers(0, 5, rows),
            "page": random.integers(0, 7, rows),
            "s": random.integers(0, 90, rows) / 2,
            "at": _APRIL_US + random.integers(0, max(rows // 6, 1), rows) * _HOUR_US,
        }
    )


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_it_is_the_same_file_with_its_rows_numbered(tmp_path: Path, rows: int) -> None:
    bare, numbered = project_in(tmp_path / "bare", "None"), project_in(tmp_path / "numbered", '"n"')
    given = table(rows)

    found = compute_file(bare, bare.only_stream(), given)

    expected = compute_file(numbered, numbered.only_stream(), given.append_column("n", pa.array(np.arange(rows))))
    assert found.column_names[0] == "_id"
    assert found.equals(expected.rename_columns(["_id", *expected.column_names[1:]]))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9)), max_size=12))
def test_every_row_counts_and_ties_are_in_the_order_of_the_file(rows: list[tuple[int, int, int]]) -> None:
    """Rows of (card, hour, page)."""
    clicks = EventStream("clicks", key="card", time="at", id=None, schema={"card": Int64, "page": Float64})
    features = [count().over("1d"), first("page").over("1d"), last_k("page", 9).over("1d")]
    view = FeatureView("use", entity="card", source=clicks, closed="right", features=features)
    project = Project(name="p", path=Path(), streams=(clicks,), labels=(), views=(view,), requests=(), models=())
    names = ["card", "at", "page"]
    columns = [[row[0] for row in rows], [_APRIL_US + row[1] * _HOUR_US for row in rows], [row[2] for row in rows]]

    found = compute_file(project, clicks, pa.table([pa.array(values, pa.int64()) for values in columns], names=names))

    for answer, (card, hour, _) in zip(found.to_pylist(), rows, strict=True):
        seen = sorted((row for row in rows if row[0] == card and row[1] <= hour), key=lambda row: row[1])
        pages = [float(page) for *_, page in seen]
        assert [answer["use__count_1d"], answer["use__first_page_1d"]] == [len(seen), pages[0]]
        assert answer["use__last_9_page_1d"] == pages[::-1][:9]


def test_a_column_of_places_goes_before_the_order_of_the_file(tmp_path: Path) -> None:
    """As the event log has it: the same events in any order."""
    project = project_in(tmp_path / "bare", "None")
    given = table(300).append_column("_ID", pa.array(np.arange(300)))
    shuffled = np.random.default_rng(1).permutation(300)

    found = compute_file(project, project.only_stream(), given.take(shuffled))

    assert found.sort_by("_id").equals(compute_file(project, project.only_stream(), given.drop_columns("_ID")))


@pytest.mark.parametrize("memory", [64_000, 10**9])
@pytest.mark.parametrize("rows", [0, 1, 700])
def test_a_file_larger_than_memory_has_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, rows: int
) -> None:
    monkeypatch.setattr(file_spill, "_FEWEST_ROWS", 1)
    project = project_in(tmp_path / "bare", "None")
    events, out = tmp_path / "e.parquet", tmp_path / "f.parquet"
    pq.write_table(table(rows), events, row_group_size=100)

    compute_file_spilled(project, project.only_stream(), events, None, out, memory_bytes=memory, folder=tmp_path)

    assert pq.read_table(out).equals(compute_file(project, project.only_stream(), table(rows)))


def test_the_command_and_the_notebook_number_rows_from_0(tmp_path: Path) -> None:
    project = project_in(tmp_path / "bare", "None")
    pq.write_table(table(50), tmp_path / "e.parquet")
    words = ["features", "compute", "--project", str(project.path), "--events", str(tmp_path / "e.parquet")]

    assert main([*words, "--out", str(tmp_path / "f.parquet")]) == 0
    assert main([*words, "--out", str(tmp_path / "g.parquet"), "--memory", "1MB"]) == 0

    found = pq.read_table(tmp_path / "f.parquet")
    assert found["_id"].to_pylist() == list(range(50))
    assert found.equals(pq.read_table(tmp_path / "g.parquet"))
    assert found.equals(open_project(project.path, tmp_path / "home").compute(table(50)).arrow)


@pytest.mark.parametrize(("before", "after"), [("None", '"n"'), ('"n"', "None")])
def test_a_log_is_not_read_across_an_id_that_came_or_went(tmp_path: Path, before: str, after: str) -> None:
    was, now = (event_schema(project_in(tmp_path / name, name).only_stream()) for name in (before, after))

    with pytest.raises(ConfigError, match=r"written without it\n.*has a new name"):
        check_schema(was, now, Path("events.parquet"))
