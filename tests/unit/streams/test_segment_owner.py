"""A file that a former owner finishes after its partition has moved is removed by the present one, and nothing else."""

from pathlib import Path

import pyarrow as pa

from feature_store.offline_log import segments, write_segment
from streams.segment_owner import OwnedFolder

TABLE = pa.table({"n": [1]})


def names(folder: Path) -> list[tuple[int, int]]:
    return [(segment.first, segment.last) for segment in segments(folder)]


def write(owner: OwnedFolder, folder: Path, first: int, last: int) -> None:
    write_segment(TABLE, folder, first, last, owner.metadata)
    owner.wrote(first, last)


def test_what_a_former_owner_writes_late_goes(tmp_path: Path) -> None:
    zombie, owner = OwnedFolder(tmp_path, 0, 7), OwnedFolder(tmp_path, 10, 8)
    write(zombie, tmp_path, 0, 9)
    write(owner, tmp_path, 10, 14)

    write_segment(TABLE, tmp_path, 10, 19, zombie.metadata)
    assert names(tmp_path) == [(0, 9), (10, 19)]
    write(owner, tmp_path, 15, 24)

    assert names(tmp_path) == [(0, 9), (10, 14), (15, 24)]


def test_what_the_former_owner_wrote_in_its_time_stays(tmp_path: Path) -> None:
    former, owner = OwnedFolder(tmp_path, 0, 7), OwnedFolder(tmp_path, 10, 8)
    write(former, tmp_path, 0, 9)

    write(owner, tmp_path, 10, 14)

    assert names(tmp_path) == [(0, 9), (10, 14)]


def test_what_compaction_made_stays(tmp_path: Path) -> None:
    owner = OwnedFolder(tmp_path, 0, 8)
    write(owner, tmp_path, 0, 4)
    write_segment(TABLE, tmp_path, 0, 9)

    write(owner, tmp_path, 10, 14)

    assert names(tmp_path) == [(0, 9), (10, 14)]


def test_a_worker_that_was_fenced_removes_nothing_of_its_successor(tmp_path: Path) -> None:
    zombie, owner = OwnedFolder(tmp_path, 0, 7), OwnedFolder(tmp_path, 10, 8)
    write(owner, tmp_path, 10, 14)

    write(zombie, tmp_path, 30, 39)

    assert names(tmp_path) == [(10, 14), (30, 39)]
