"""What owners of a task's files write down; the law it is for is in tests/property/test_owner_laws.py."""

from pathlib import Path

import pytest

from streams.ownership.tenures import FencedError, Tenures
from streams.snapshots.object_store import ObjectStore
from streams.snapshots.owner_record import read_tenures, take_office
from streams.snapshots.snapshot_store import FolderStore, SnapshotStore


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    return FolderStore(tmp_path) if request.param == "folder" else ObjectStore(f"memory://{tmp_path.name}")


def test_each_owner_begins_behind_what_it_found(store: SnapshotStore) -> None:
    assert take_office(store, 7, lambda _: ("", 0))[1] == Tenures.of([(7, 0)])
    assert take_office(store, 8, lambda _: ("", 50))[1] == Tenures.of([(7, 0), (8, 50)])
    assert read_tenures(store) == Tenures.of([(7, 0), (8, 50)])
    with pytest.raises(FencedError):
        take_office(store, 6, lambda _: ("", 0))


def test_records_do_not_grow_with_the_number_of_owners(store: SnapshotStore) -> None:
    for epoch in range(1, 100):
        take_office(store, epoch, lambda _, epoch=epoch: ("", epoch))

    assert len(store.names()) == 2
    assert len(read_tenures(store).every) == 16
    assert sum(len(store.read(name)) for name in store.names()) < 1_000


def test_a_damaged_record_leaves_the_one_before(store: SnapshotStore) -> None:
    for epoch in (7, 8, 9):
        take_office(store, epoch, lambda _, epoch=epoch: ("", epoch * 10))
    store.write(max(store.names()), [memoryview(b"torn")])

    assert read_tenures(store).epoch == 8
