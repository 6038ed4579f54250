"""A field more and a wider number read across old and new files, in our reader and in others; nothing else does."""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from feature_store.offline.log_reading import read_log
from feature_store.offline.log_schema import check_newest
from feature_store.offline.offline_log import segments_below, write_segment
from headrace.errors import ConfigError

NOW = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("n", pa.int64()),
        pa.field("x", pa.float64()),
        pa.field("tip", pa.float64()),
    ]
)
OLD = pa.table(
    {"id": pa.array([1, 2]), "n": pa.array([5, None], pa.int32()), "x": pa.array([0.5, 0.25], pa.float32())},
)
NEW = pa.table({"id": [3], "n": [2**40], "x": [0.1], "tip": [1.5]}, schema=NOW)
ROWS = [(1, 5, 0.5, None), (2, None, 0.25, None), (3, 2**40, 0.1, 1.5)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write_segment(OLD, tmp_path / "partition=0", 0, 1)
    write_segment(NEW, tmp_path / "partition=0", 2, 2)
    return tmp_path


def _tuples(table: pa.Table) -> list[tuple[object, ...]]:
    return sorted(tuple(row.values()) for row in table.to_pylist())


def test_our_reader_reads_old_and_new_files_as_today(log: Path) -> None:
    table = read_log(log, NOW)

    assert _tuples(table) == ROWS
    assert table.schema.equals(NOW)
    check_newest(log, NOW)


def test_plain_duckdb_polars_and_arrow_read_the_same(log: Path) -> None:
    files = [str(segment.path) for segment in segments_below(log)]

    by_duckdb = duckdb.sql(f"SELECT id, n, x, tip FROM read_parquet({files}, union_by_name = true)").to_arrow_table()
    by_polars = pl.scan_parquet(
        files[::-1],
        missing_columns="insert",
        cast_options=pl.ScanCastOptions(integer_cast="upcast", float_cast="upcast"),
        hive_partitioning=False,
    )
    by_arrow = ds.dataset(files, schema=NOW).to_table()

    assert _tuples(by_duckdb) == ROWS
    assert _tuples(by_polars.select("id", "n", "x", "tip").collect().to_arrow()) == ROWS
    assert _tuples(by_arrow) == ROWS


@pytest.mark.parametrize(
    ("name", "field", "says"),
    [
        ("n", pa.field("n", pa.float64()), "'n' is declared double, and .*-0.*holds int32"),
        ("x", pa.field("x", pa.string()), "'x' is declared string"),
        ("id", pa.field("id", pa.int32()), "'id' is declared int32, and .* holds int64"),
        ("tip", pa.field("tip", pa.float64(), nullable=False), "'tip' is declared, and .* without it"),
        ("n", pa.field("n", pa.int64(), nullable=False), "'n' is declared without nulls"),
        ("x", pa.field("y", pa.float64()), "'x' stands in .* no longer declared"),
    ],
)
def test_any_other_change_names_the_field_the_file_and_the_way_out(
    log: Path, name: str, field: pa.Field, says: str
) -> None:
    wanted = NOW.set(NOW.get_field_index(name), field)

    with pytest.raises(ConfigError, match=says) as caught:
        read_log(log, wanted)

    assert caught.value.hint


def test_int64_that_becomes_float64_is_refused_before_anything_is_written(log: Path) -> None:
    with pytest.raises(ConfigError, match=r"'n' is declared double, and .* holds int64"):
        check_newest(log, NOW.set(1, pa.field("n", pa.float64())))
