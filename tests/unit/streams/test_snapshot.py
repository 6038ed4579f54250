"""One file of a snapshot is whole or refused; files of the first format are still read."""

import numpy as np
import pytest

from headrace.errors import IntegrityError
from streams.snapshots.snapshot_piece import Snapshot, decode, encode
from tests.old_snapshots import first_format

STATE = {
    "numbers": np.arange(6, dtype=np.int64).reshape(2, 3),
    "nothing": np.empty((0, 4), dtype=np.float64),
    "flags": np.array([True, False]),
    "bytes": np.frombuffer(b"key", dtype=np.uint8),
    "after": np.array([5], dtype=np.int64),
}
MARKS = {"marks/sales": np.array([[1, 2, 0]], dtype=np.int64)}


def data_of(offset: int = 7) -> bytearray:
    snapshot = Snapshot(offset=offset, definition="abc", facts={"created_us": 70}, state=STATE, marks=MARKS)
    parts, _ = encode(snapshot, parent="a name", parent_digest="ff")
    return bytearray(b"".join(parts))


def assert_is_what_was_written(snapshot: Snapshot) -> None:
    assert (snapshot.offset, snapshot.definition, snapshot.facts) == (7, "abc", {"created_us": 70})
    for read, written in ((snapshot.state, STATE), (snapshot.marks, MARKS)):
        assert read.keys() == written.keys()
        for name, array in written.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)


def test_a_piece_reads_back_as_written() -> None:
    data = data_of()

    piece = decode(data, "piece")

    assert_is_what_was_written(piece.snapshot)
    assert (piece.parent, piece.parent_digest, piece.digest) == ("a name", "ff", data[-32:].hex())
    piece.snapshot.state["numbers"][0, 0] = 9  # the state goes on in these arrays
    assert all(array.flags.aligned for array in piece.snapshot.state.values())


@pytest.mark.parametrize("place", [0, 20, 60, 400, -1])
def test_one_changed_byte_is_noticed(place: int) -> None:
    data = data_of()
    data[place] ^= 1

    with pytest.raises(IntegrityError, match="piece is damaged"):
        decode(data, "piece")


@pytest.mark.parametrize("left", [0, 5, 31, 32, 33, 200, -1])
def test_a_cut_file_is_noticed(left: int) -> None:
    with pytest.raises(IntegrityError, match="piece is damaged"):
        decode(data_of()[:left], "piece")


def test_the_first_format_is_read() -> None:
    piece = decode(first_format(STATE, MARKS, offset=7, definition="abc"), "piece")

    assert_is_what_was_written(piece.snapshot)
    assert piece.parent == ""


def test_a_later_format_is_refused() -> None:
    with pytest.raises(IntegrityError, match="piece has format 3; this version reads 1 and 2"):
        decode(first_format(STATE, MARKS, offset=7, definition="abc", form=3), "piece")
