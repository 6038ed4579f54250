"""Chains of snapshots: whatever single file is damaged, an earlier state is found; what is no longer needed goes."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from headrace.errors import ConfigError
from streams.snapshots.object_store import ObjectStore
from streams.snapshots.snapshot_chain import SnapshotChain, offsets_kept, read_newest, write_only
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_store import FolderStore, SnapshotStore
from tests.old_snapshots import first_format

STREAM = hr.EventStream(
    "events", key="key", time="at", id="id", schema={"key": hr.Int64, "size": hr.Int64}, lateness="20s"
)
PLAN = compile_view(hr.FeatureView("view", entity="key", source=STREAM, features=hr.sum("size").over("60s")))

Arrays = dict[str, Any]


class Life:
    """A process that applies events and saves; ``states`` holds what each offset must restore to."""

    def __init__(self, store: SnapshotStore, states: dict[int, Arrays]) -> None:
        self.chain, self.states = SnapshotChain(store, PLAN.version), states
        self.rng = np.random.default_rng(len(states))
        found = self.chain.restore()
        self.state, self.offset = ViewState(PLAN), -1
        if found is not None:
            self.state, self.offset = ViewState.restore(PLAN, dict(found.state)), found.offset

    def save(self, events: int, *, on: int = 1) -> None:
        at_us = max(self.state.watermark_us, 0) + 1_000_000
        self.offset += on
        keys, ids = self.rng.integers(0, 500, events), self.rng.integers(0, 2**60, events)
        self.state.apply(keys, at_us - self.rng.integers(0, 10**6, events), ids, np.ones((1, events), dtype=np.int64))
        self.state.advance(at_us)
        self.state.drain(log=False)
        whole = self.chain.is_broken
        changes = self.state.take_changes()
        self.states[self.offset] = self.state.snapshot()
        given = {**self.state.snapshot(), "slots": self.state.slots_held()} if whole else changes
        self.chain.write(snapshot(self.offset, given), whole=whole)


def snapshot(offset: int, state: Arrays, definition: str = PLAN.version) -> Snapshot:
    marks = {"marks/events": np.array([[offset, 0, 0]])}
    return Snapshot(offset=offset, definition=definition, facts={"created_us": offset * 10}, state=state, marks=marks)


def check(store: SnapshotStore, states: dict[int, Arrays]) -> int:
    """What is restored is the state of its offset; gives the offset, -1 for none."""
    found = read_newest(store, PLAN.version)
    if found is None:
        return -1
    assert found.facts == {"created_us": found.offset * 10}
    assert found.marks["marks/events"][0, 0] == found.offset
    assert found.state.keys() == states[found.offset].keys()
    for name, array in states[found.offset].items():
        np.testing.assert_array_equal(found.state[name], array, err_msg=name)
    return found.offset


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SnapshotStore:
    return FolderStore(tmp_path) if request.param == "folder" else ObjectStore(f"memory://{tmp_path.name}")


def names(store: SnapshotStore) -> list[str]:
    """Offsets with the letter of their kind."""
    return [f"{int(name[:20])}{name[21]}" for name in sorted(store.names())]


def damaged(store: SnapshotStore) -> Iterator[str]:
    """Each file in turn with a changed byte, whole again afterwards."""
    for name in sorted(store.names()):
        data = store.read(name)
        store.write(name, [memoryview(data[:-40]), memoryview(bytes([data[-40] ^ 1])), memoryview(data[-39:])])
        yield name
        store.write(name, [memoryview(data)])


def test_changes_hang_on_whole_states_and_two_generations_are_kept(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life, seen = Life(store, states), []
    for events in (400, 5, 5, 5, 200, 200, 5, 5):
        life.save(events)
        assert check(store, states) == life.offset
        seen.append(" ".join(names(store)))

    assert seen[:4] == ["0s", "0s 1s", "0s 1s 2d", "0s 1s 2d 3d"]
    assert seen[-1] == "1s 2d 3d 4d 5s 6d 7d"
    assert offsets_kept(store) == [1, 2, 3, 4, 5, 6, 7]


def test_whatever_file_is_damaged_an_earlier_state_is_found(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life = Life(store, states)
    for events in (400, 5, 5, 200, 200, 5, 5):
        life.save(events)

    found = {name[:21].lstrip("0"): check(store, states) for name in damaged(store)}

    assert found == {"1.": 6, "2.": 6, "3.": 6, "4.": 3, "5.": 4, "6.": 5}


def test_a_process_goes_on_where_another_ended_even_at_an_earlier_state(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life = Life(store, states)
    for events in (400, 5, 5, 5):
        life.save(events)
    assert names(store) == ["0s", "1s", "2d", "3d"]

    for name in damaged(store):
        if name.endswith("1.snapshot"):
            later = Life(store, states)
            assert later.offset == 0
            later.save(10, on=7)
            assert (check(store, states), names(store)) == (7, ["0s", "7s"])
            later.save(10)
            break
    assert (check(store, states), names(store)) == (8, ["0s", "7s", "8d"])

    third = Life(store, states)
    assert third.offset == 8
    third.save(3)
    third.save(3)
    assert (check(store, states), names(store)) == (10, ["7s", "8d", "9s", "10d"])


def test_a_second_snapshot_at_one_offset_replaces_the_first(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life = Life(store, states)
    for on in (1, 0, 0, 1, 1, 0, 0):
        life.save(20, on=on)
        assert check(store, states) == life.offset
    again = Life(store, states)
    again.save(20, on=0)

    assert check(store, states) == again.offset


def test_files_lost_while_the_process_runs_bring_the_whole_state(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life = Life(store, states)
    for events in (400, 5, 5):
        life.save(events)
    for name in store.names():
        store.remove(name)

    life.save(300)
    assert (life.chain.is_broken, check(store, states)) == (False, -1)
    life.save(5)
    assert life.chain.is_broken
    life.save(5)

    assert (life.chain.is_broken, check(store, states)) == (False, life.offset)


def test_a_chain_goes_on_from_files_of_the_first_format(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life = Life(ObjectStore(f"memory://{uuid.uuid4().hex}"), states)
    for events in (300, 50):
        life.save(events)
        given = snapshot(life.offset, states[life.offset])
        old = first_format(given.state, given.marks, offset=life.offset, definition=PLAN.version)
        store.write(f"{life.offset:020d}.snapshot", [memoryview(old)])
    assert (names(store), check(store, states)) == (["0s", "1s"], 1)

    later = Life(store, states)
    later.save(20)
    later.save(20)

    assert (names(store), check(store, states)) == (["1s", "2s", "3d"], 3)


def test_a_state_of_another_definition_is_no_state(store: SnapshotStore) -> None:
    write_only(store, snapshot(7, ViewState(PLAN).snapshot(), definition="other"))

    assert read_newest(store, PLAN.version) is None
    assert Life(store, {}).offset == -1


def test_a_whole_state_written_alone_leaves_nothing_else(store: SnapshotStore) -> None:
    states: dict[int, Arrays] = {}
    life = Life(store, states)
    for events in (400, 5, 5):
        life.save(events)
    found = read_newest(store, PLAN.version)
    assert found is not None

    write_only(store, found)

    assert (names(store), check(store, states)) == (["2s"], 2)
    later = Life(store, states)
    later.save(5)
    assert (names(store), check(store, states)) == (["2s", "3s"], 3)


def test_an_address_nobody_knows_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"stream\.state_url: 'nosuch://bucket/state' cannot be opened"):
        ObjectStore("nosuch://bucket/state")
