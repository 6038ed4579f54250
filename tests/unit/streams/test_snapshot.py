"""Snapshots are whole or refused; the newest whole one counts."""

from pathlib import Path

import numpy as np
import pytest

from headrace.errors import IntegrityError
from streams.snapshot import Snapshot, read_newest, read_snapshot, write_snapshot

ARRAYS = {
    "numbers": np.arange(6, dtype=np.int64).reshape(2, 3),
    "nothing": np.empty((0, 4), dtype=np.float64),
    "flags": np.array([True, False]),
    "bytes": np.frombuffer(b"key", dtype=np.uint8),
}


def snapshot(offset: int, definition: str = "abc") -> Snapshot:
    return Snapshot(offset=offset, definition=definition, facts={"created_us": offset * 10}, arrays=ARRAYS)


def test_a_snapshot_reads_back_as_written(tmp_path: Path) -> None:
    again = read_snapshot(write_snapshot(tmp_path, snapshot(7)))

    assert (again.offset, again.definition, again.facts) == (7, "abc", {"created_us": 70})
    for name, array in ARRAYS.items():
        assert again.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays[name], array)
    again.arrays["numbers"][0, 0] = 9  # the state goes on in these arrays


@pytest.mark.parametrize("place", [0, 20, 60, -1])
def test_one_changed_byte_is_noticed(tmp_path: Path, place: int) -> None:
    path = write_snapshot(tmp_path, snapshot(7))
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)

    with pytest.raises(IntegrityError, match="damaged"):
        read_snapshot(path)


def test_a_cut_file_is_noticed(tmp_path: Path) -> None:
    path = write_snapshot(tmp_path, snapshot(7))
    path.write_bytes(path.read_bytes()[:-5])

    with pytest.raises(IntegrityError, match="damaged"):
        read_snapshot(path)


def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path: Path) -> None:
    write_snapshot(tmp_path, snapshot(7))
    write_snapshot(tmp_path, snapshot(9)).write_bytes(b"")

    newest = read_newest(tmp_path, "abc")

    assert newest is not None
    assert newest.offset == 7


def test_two_are_kept(tmp_path: Path) -> None:
    for offset in (1, 2, 3):
        write_snapshot(tmp_path, snapshot(offset))

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n:020d}.snapshot" for n in (2, 3)]


def test_a_state_of_another_definition_is_no_state(tmp_path: Path) -> None:
    write_snapshot(tmp_path, snapshot(7, definition="abc"))

    assert read_newest(tmp_path, "def") is None
    assert read_newest(tmp_path / "absent", "abc") is None
