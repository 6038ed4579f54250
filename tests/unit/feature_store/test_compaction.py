"""What compaction merges, in which order, and what it leaves alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.offline.log_bounds import committed_below
from feature_store.offline.log_lock import upkeep_lock
from feature_store.offline.offline_log import read_segment, segments, write_segment
from feature_store.upkeep.compaction import compact, feature_order
from headrace.errors import IntegrityError, RejectedError

ORDER = feature_order("shop")


def _write(folder: Path, first: int, rows: list[tuple[str, int, int, float]], last: int | None = None) -> None:
    """Rows are (shop, event time, created time, value)."""
    table = pa.table([[row[i] for row in rows] for i in range(4)], names=[*ORDER, "spend"])
    write_segment(table, folder, first, first + len(rows) - 1 if last is None else last)


def _names(folder: Path) -> list[tuple[int, int]]:
    return [(segment.first, segment.last) for segment in segments(folder)]


def test_files_below_the_border_become_one_sorted_by_key_then_time(tmp_path: Path) -> None:
    _write(tmp_path, 0, [("b", 5, 1, 0.1), ("a", 9, 2, 0.2)])
    _write(tmp_path, 2, [("a", 3, 3, 0.3)])
    _write(tmp_path, 3, [("a", 1, 4, 0.4)])

    (done,) = compact(tmp_path, below=3, order=ORDER)

    assert (done.files, done.rows, done.superseded) == (2, 3, 0)
    assert _names(tmp_path) == [(0, 2), (3, 3)]
    merged = read_segment(done.path)
    assert merged["spend"].to_pylist() == [0.3, 0.2, 0.1]
    statistics = pq.ParquetFile(done.path).metadata.row_group(0).column(1).statistics
    assert (statistics.min, statistics.max) == (3, 9)


def test_superseded_rows_go_only_when_asked(tmp_path: Path) -> None:
    for folder in (tmp_path / "kept", tmp_path / "left"):
        _write(folder, 0, [("a", 5, 1, 0.1), ("a", 6, 1, 0.2)])
        _write(folder, 2, [("a", 5, 2, 0.3)])

    (kept,) = compact(tmp_path / "kept", below=9, order=ORDER)
    (left,) = compact(tmp_path / "left", below=9, order=ORDER, drop_superseded=True)

    assert read_segment(kept.path)["spend"].to_pylist() == [0.1, 0.3, 0.2]
    assert read_segment(left.path)["spend"].to_pylist() == [0.3, 0.2]
    assert left.superseded == 1


def test_files_of_other_columns_are_never_merged(tmp_path: Path) -> None:
    _write(tmp_path, 0, [("a", 5, 1, 0.1)])
    write_segment(pa.table({"shop": ["a"], "more": [1]}), tmp_path, 1, 1)

    assert list(compact(tmp_path, below=9)) == []


def test_a_large_file_waits_until_what_follows_outweighs_it(tmp_path: Path) -> None:
    many = [(f"shop {n}", n * 7919 % 5003, n, n * 0.37) for n in range(5_000)]
    _write(tmp_path, 0, many)
    for first in (5_000, 5_001, 5_002):
        _write(tmp_path, first, [("a", first, 1, 0.1)])

    list(compact(tmp_path, below=10_000, order=ORDER))

    assert _names(tmp_path) == [(0, 4_999), (5_000, 5_002)]


def test_a_file_of_the_target_size_is_left_alone(tmp_path: Path) -> None:
    for first in range(3):
        _write(tmp_path, first, [("a", first, 1, 0.1)])
    size = segments(tmp_path)[0].path.stat().st_size

    assert list(compact(tmp_path, below=9, target_bytes=size)) == []
    assert _names(tmp_path) == [(0, 0), (1, 1), (2, 2)]


def test_the_newest_segment_may_not_be_committed_yet(tmp_path: Path) -> None:
    assert committed_below(tmp_path) == 0

    _write(tmp_path, 0, [("a", 1, 1, 0.1)])
    _write(tmp_path, 1, [("a", 2, 1, 0.1)])

    assert committed_below(tmp_path) == 1


def test_a_damaged_file_stops_it_and_everything_stays(tmp_path: Path) -> None:
    _write(tmp_path, 0, [("a", 1, 1, 0.1)])
    _write(tmp_path, 1, [("a", 2, 1, 0.1)])
    damaged = segments(tmp_path)[1].path
    body = bytearray(damaged.read_bytes())
    body[4:40] = b"\0" * 36
    damaged.write_bytes(bytes(body))

    with pytest.raises(IntegrityError, match="cannot be read"):
        list(compact(tmp_path, below=9))
    assert _names(tmp_path) == [(0, 0), (1, 1)]


def test_two_cannot_work_on_one_log(tmp_path: Path) -> None:
    with upkeep_lock(tmp_path, "shop"), pytest.raises(RejectedError, match="at work"), upkeep_lock(tmp_path, "shop"):
        pass
