"""Segments of the offline log: whole or absent, named by offset, cut at a restart."""

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.offline.offline_log import (
    drop_from,
    end_offset,
    log_folder,
    read_segment,
    segment_path,
    segments,
    segments_below,
    write_segment,
)
from headrace.errors import HeadraceError, IntegrityError

TABLE = pa.table({"key": [1, 2, 3]})


def test_a_segment_reads_back_as_written_without_the_folders_partition(tmp_path: Path) -> None:
    folder = log_folder(tmp_path, "shop", "events", "clicks", 3)

    path = write_segment(TABLE, folder, 7, 9, {"writer": "test"})

    assert path == tmp_path / "shop/events/clicks/partition=3/00000000000000000007-00000000000000000009.parquet"
    assert read_segment(path).equals(TABLE)
    assert read_segment(path).schema.metadata[b"writer"] == b"test"


def test_segments_are_listed_by_offset_and_partition_number(tmp_path: Path) -> None:
    log = log_folder(tmp_path, "shop", "events", "clicks")
    for partition, first in ((10, 5), (2, 100), (2, 0)):
        write_segment(TABLE, log_folder(tmp_path, "shop", "events", "clicks", partition), first, first + 2)

    listed = [(segment.path.parent.name, segment.first, segment.last) for segment in segments_below(log)]

    assert listed == [("partition=2", 0, 2), ("partition=2", 100, 102), ("partition=10", 5, 7)]


def test_end_offset_is_one_past_the_newest_row(tmp_path: Path) -> None:
    assert end_offset(tmp_path / "absent") == 0

    write_segment(TABLE, tmp_path, 4, 6)

    assert end_offset(tmp_path) == 7


def test_drop_from_removes_what_lies_beyond_and_unfinished_files(tmp_path: Path) -> None:
    for first in (0, 3, 6):
        write_segment(TABLE, tmp_path, first, first + 2)
    (tmp_path / ".00000000000000000009-00000000000000000011.parquet.77.unfinished").write_bytes(b"half")

    assert drop_from(tmp_path, 3) == 2
    assert [path.name for path in tmp_path.iterdir()] == [segment_path(tmp_path, 0, 2).name]
    assert drop_from(tmp_path / "absent", 0) == 0


def test_drop_from_refuses_to_cut_a_segment(tmp_path: Path) -> None:
    write_segment(TABLE, tmp_path, 0, 9)

    with pytest.raises(IntegrityError, match="over offset 5"):
        drop_from(tmp_path, 5)


def test_a_full_disk_leaves_nothing_behind_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(HeadraceError, match="is full") as caught:
        write_segment(TABLE, tmp_path, 0, 2)

    assert "free space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_segment_is_refused(tmp_path: Path) -> None:
    path = write_segment(TABLE, tmp_path, 0, 2)
    path.write_bytes(path.read_bytes()[:-3])

    with pytest.raises(IntegrityError, match="cannot be read"):
        read_segment(path)


def test_no_segment_has_its_end_before_its_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="5 to 4"):
        segment_path(tmp_path, 5, 4)


def test_segments_ignores_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    assert segments(tmp_path) == []
