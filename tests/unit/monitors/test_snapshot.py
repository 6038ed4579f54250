"""A snapshot is whole, or it is refused."""

from pathlib import Path

import numpy as np
import pytest

from headrace.errors import IntegrityError
from monitors.snapshot import Snapshot, read_snapshot, write_snapshot

SNAPSHOT = Snapshot(plain={"offsets": {"t:0": 7}}, arrays={"m/part/values": np.arange(5), "m/part/none": np.zeros(0)})


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "s", SNAPSHOT)

    read = read_snapshot(tmp_path / "s")

    assert read is not None
    assert read.plain == SNAPSHOT.plain
    assert {name: array.tolist() for name, array in read.arrays.items()} == {
        "m/part/values": [0, 1, 2, 3, 4],
        "m/part/none": [],
    }


def test_none_is_none(tmp_path: Path) -> None:
    assert read_snapshot(tmp_path / "s") is None


@pytest.mark.parametrize("at", [0, 40, -1])
def test_one_changed_byte_is_refused(tmp_path: Path, at: int) -> None:
    path = tmp_path / "s"
    write_snapshot(path, SNAPSHOT)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))

    with pytest.raises(IntegrityError, match="checksum"):
        read_snapshot(path)
