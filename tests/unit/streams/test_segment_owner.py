"""A file that a former owner finishes after its partition has moved is removed by those after it, and nothing else."""

from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.offline.offline_log import segments, write_segment
from headrace.errors import IntegrityError
from streams.logs.segment_owner import OwnedFolder
from streams.ownership.tenures import Tenures

TABLE = pa.table({"n": [1]})
FIRST = Tenures.of([(7, 0)])
SECOND = FIRST.followed_by(8, 10)


def names(folder: Path) -> list[tuple[int, int]]:
    return [(segment.first, segment.last) for segment in segments(folder)]


def begun(folder: Path, tenures: Tenures) -> OwnedFolder:
    """An owner that has taken over."""
    owner = OwnedFolder(folder, tenures.every[-1].first, tenures)
    owner.take_over()
    return owner


def test_what_a_former_owner_writes_late_goes(tmp_path: Path) -> None:
    zombie = begun(tmp_path, FIRST)
    zombie.write(TABLE, 0, 9)
    owner = begun(tmp_path, SECOND)
    owner.write(TABLE, 10, 14)

    zombie.write(TABLE, 10, 19)
    assert names(tmp_path) == [(0, 9), (10, 19)]
    owner.write(TABLE, 15, 24)

    assert names(tmp_path) == [(0, 9), (10, 14), (15, 24)]


@pytest.mark.parametrize("last", [12, 14, 19])
def test_when_the_owner_dies_before_it_writes_again_the_next_one_removes_it(tmp_path: Path, last: int) -> None:
    zombie = begun(tmp_path, FIRST)
    zombie.write(TABLE, 0, 9)
    owner = begun(tmp_path, SECOND)
    owner.write(TABLE, 10, 12)
    owner.write(TABLE, 13, 14)
    zombie.write(TABLE, 10, last) if last != 12 else zombie.write(TABLE, 11, last)

    begun(tmp_path, SECOND.followed_by(9, 15))

    assert names(tmp_path) == [(0, 9), (10, 12), (13, 14)]


def test_a_file_over_the_beginning_is_refused_when_its_owner_had_the_right_to_it(tmp_path: Path) -> None:
    begun(tmp_path, FIRST).write(TABLE, 0, 19)

    with pytest.raises(IntegrityError, match="reaches over offset 10"):
        begun(tmp_path, SECOND)


def test_what_the_former_owner_wrote_in_its_time_stays(tmp_path: Path) -> None:
    begun(tmp_path, FIRST).write(TABLE, 0, 9)

    begun(tmp_path, SECOND).write(TABLE, 10, 14)

    assert names(tmp_path) == [(0, 9), (10, 14)]


def test_what_compaction_made_stays(tmp_path: Path) -> None:
    owner = begun(tmp_path, FIRST)
    owner.write(TABLE, 0, 4)
    write_segment(TABLE, tmp_path, 0, 9)

    owner.write(TABLE, 10, 14)
    begun(tmp_path, FIRST.followed_by(9, 15))

    assert names(tmp_path) == [(0, 9), (10, 14)]


def test_a_worker_that_was_fenced_removes_nothing_of_its_successors(tmp_path: Path) -> None:
    """Paused between its claim and its first look at the folder, or in a write."""
    begun(tmp_path, FIRST).write(TABLE, 0, 9)
    owner = begun(tmp_path, SECOND.followed_by(9, 10))
    owner.write(TABLE, 10, 14)
    write_segment(TABLE, tmp_path, 15, 24)
    owner.write(TABLE, 25, 29)
    unfinished = tmp_path / ".x.parquet.9-1.unfinished"
    unfinished.touch()

    zombie = begun(tmp_path, SECOND)
    zombie.write(TABLE, 30, 39)

    assert names(tmp_path) == [(0, 9), (10, 14), (15, 24), (25, 29), (30, 39)]
    assert unfinished.exists()


def test_unfinished_files_of_those_before_go(tmp_path: Path) -> None:
    old, older = tmp_path / ".x.parquet.7-1.unfinished", tmp_path / ".x.parquet.55.unfinished"
    old.touch()
    older.touch()

    begun(tmp_path, SECOND)

    assert not list(tmp_path.iterdir())
