"""Every place for snapshots keeps what the stream relies on."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.errors import UnavailableError
from streams.snapshots.object_store import ObjectStore
from streams.snapshots.snapshot_store import FolderStore, SnapshotStore


@pytest.fixture(params=["folder", "memory", "files through fsspec"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], SnapshotStore]:
    """Opens the same place each time, as another process would."""
    name = uuid.uuid4().hex
    makers: dict[str, Callable[[], SnapshotStore]] = {
        "folder": lambda: FolderStore(tmp_path / "a" / "b"),
        "memory": lambda: ObjectStore(f"memory://{name}/a/b"),
        "files through fsspec": lambda: ObjectStore(f"local://{tmp_path}/c/d"),
    }
    return makers[request.param]


def test_what_was_written_is_there_and_what_was_removed_is_not(make: Callable[[], SnapshotStore]) -> None:
    store = make()
    assert store.names() == []
    store.remove("never")
    store.write("one", [memoryview(b"12"), memoryview(b""), memoryview(b"3")])
    store.write("two", [memoryview(b"x" * 100_000)])

    store.write("one", [memoryview(b"4")])

    assert sorted(make().names()) == ["one", "two"]
    assert (make().read("one"), len(make().read("two"))) == (b"4", 100_000)
    store.read("one")[0] = 0  # it may be written into
    store.remove("one")
    store.tidy()
    assert make().names() == ["two"]
    with pytest.raises(FileNotFoundError):
        make().read("one")


def test_a_file_that_was_not_finished_is_no_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write("one", [memoryview(b"1")])
    (tmp_path / ".two.77.unfinished").write_bytes(b"half")

    assert store.names() == ["one"]
    store.tidy()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_store_that_refuses_is_away_and_asked_again(tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"")
    store = ObjectStore(f"local://{tmp_path}/a file/no folder")

    with pytest.raises(UnavailableError, match=r"the state store .* does not serve"):
        store.write("one", [memoryview(b"1")])
