"""Following the record: swaps, refusals, rollbacks, and booting from the local copy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from serving.model_shelf import ModelShelf
from serving.record_cache import RecordCache
from serving.record_follower import Loaded, RecordFollower
from tests.unit.serving.artifacts import write_version
from tests.unit.serving.cards import model, record
from tests.unit.serving.memory_store import MemoryStore


class Home:
    """A server's surroundings: artifacts, store and cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryStore()
        self.announced: list[RolloutChange] = []
        self.swaps: list[Loaded] = []
        for version in ("v1", "v2", "v3"):
            write_version(folder / "models", model, version)

    def boot(self) -> RecordFollower:
        """A follower that has looked once; its thread is not started, ``refresh`` is called by hand."""
        follower = RecordFollower(
            self.store,  # type: ignore[arg-type]  # the same methods, in memory
            ModelShelf(self.folder / "models", [model]),
            RecordCache(self.folder / "serving"),
            ["cards"],
            announce=self.announced.append,
            changed=self.swaps.append,
            clock=ManualClock(),
        )
        follower.restore()
        follower.refresh()
        return follower

    def spoil(self, version: str) -> None:
        """Change a byte of a version's weights."""
        path = self.folder / "models" / "cards" / version / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"!")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    return Home(tmp_path)


def answering(follower: RecordFollower) -> tuple[Any, ...]:
    """Who answers now, who is on trial, which epoch is known."""
    loaded = follower.current("cards")
    assert loaded is not None
    return loaded.routing.champion, loaded.routing.challenger, loaded.record.epoch


def test_before_the_first_champion_there_is_nothing_and_no_problem(home: Home) -> None:
    follower = home.boot()

    assert (follower.current("cards"), follower.problem("cards")) == (None, "")


def test_a_new_record_is_loaded_and_swapped_in(home: Home) -> None:
    home.store.record = record()
    follower = home.boot()
    home.store.record = record(Stage.CANARY, epoch=3)
    follower.refresh()

    assert answering(follower) == ("v1", "v2", 3)
    assert [sorted(swap.versions) for swap in home.swaps] == [["v1"], ["v1", "v2"]]


def test_a_record_of_a_smaller_epoch_is_followed_too_for_the_store_is_the_truth(home: Home) -> None:
    home.store.record = record(epoch=9)
    follower = home.boot()
    home.store.record = record(epoch=1, champion="v3")
    follower.refresh()

    assert answering(follower) == ("v3", None, 1)


def test_a_tripped_trial_ends_for_requests_at_once_and_in_the_store_next(home: Home) -> None:
    home.store.record = canary = record(Stage.CANARY, epoch=3, at_us=100)
    follower = home.boot()

    follower.end_trial(canary, "score nan", 250)

    assert answering(follower) == ("v1", None, 3)
    follower.refresh()
    assert answering(follower) == ("v1", None, 4)
    written = home.store.changes[-1]
    assert (written.kind, written.record.stage, written.record.written_by) == ("rollback", Stage.STEADY, "serving")
    assert (written.record.at_us, written.record.reason) == (250, "v2 tripped: score nan")
    assert written.evidence == {"tripwire": "score nan", "version": "v2", "rollout_id": "r1"}
    assert home.announced == [written]


def test_in_probation_the_promoted_version_trips_and_its_predecessor_answers(home: Home) -> None:
    home.store.record = probation = record(Stage.PROBATION, epoch=5)
    follower = home.boot()

    follower.end_trial(probation, "score nan", 0)

    assert answering(follower) == ("v1", None, 5)
    follower.refresh()
    assert answering(follower) == ("v1", None, 6)


def test_a_trial_is_ended_once_however_many_requests_saw_it(home: Home) -> None:
    home.store.record = canary = record(Stage.CANARY, epoch=3)
    follower = home.boot()
    for _ in range(5):
        follower.end_trial(canary, "score nan", 0)
        follower.refresh()

    assert len(home.store.changes) == 1


def test_the_store_is_told_when_it_is_back(home: Home) -> None:
    home.store.record = canary = record(Stage.CANARY, epoch=3)
    follower = home.boot()
    home.store.away = True
    follower.end_trial(canary, "score nan", 0)
    follower.refresh()

    assert (answering(follower), follower.problem("cards")) == (("v1", None, 3), "the store is away")
    home.store.away = False
    follower.refresh()
    assert (answering(follower), follower.problem("cards")) == (("v1", None, 4), "")


def test_a_workflow_that_wrote_first_is_rolled_back_on_top(home: Home) -> None:
    """The next canary stage and the rollback raced for one epoch, and the stage won."""
    home.store.record = canary = record(Stage.CANARY, epoch=3)
    follower = home.boot()
    follower.end_trial(canary, "score nan", 0)
    home.store.record = record(Stage.CANARY, epoch=4, share=0.5)
    follower.refresh()

    assert answering(follower) == ("v1", None, 5)


def test_a_later_rollout_of_the_same_version_is_a_new_trial(home: Home) -> None:
    home.store.record = canary = record(Stage.CANARY, epoch=3)
    follower = home.boot()
    follower.end_trial(canary, "score nan", 0)
    follower.refresh()
    home.store.record = record(Stage.SHADOW, epoch=7, rollout_id="r2")
    follower.refresh()

    assert answering(follower) == ("v1", "v2", 7)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY])
def test_a_challenger_whose_bytes_changed_never_answers(home: Home, stage: Stage) -> None:
    home.spoil("v2")
    home.store.record = record(stage, epoch=3)
    follower = home.boot()

    assert answering(follower) == ("v1", None, 3)
    follower.refresh()
    assert answering(follower) == ("v1", None, 4)
    assert "digest" in home.store.changes[-1].record.reason


def test_a_promoted_version_that_cannot_be_loaded_is_rolled_back(home: Home) -> None:
    home.spoil("v2")
    home.store.record = record(Stage.PROBATION, epoch=3)
    follower = home.boot()
    follower.refresh()

    assert answering(follower) == ("v1", None, 4)


def test_a_champion_that_cannot_be_loaded_leaves_the_last_good_one_answering(home: Home) -> None:
    home.store.record = record()
    follower = home.boot()
    home.spoil("v3")
    home.store.record = record(champion="v3", epoch=3)
    follower.refresh()

    assert answering(follower) == ("v1", None, 2)
    assert "digest" in follower.problem("cards")


def test_a_missing_predecessor_does_not_keep_the_promoted_version_from_answering(home: Home) -> None:
    home.spoil("v1")
    home.store.record = record(Stage.PROBATION, epoch=3)
    follower = home.boot()

    assert answering(follower) == ("v2", None, 3)
    assert home.store.changes == []


def test_a_server_boots_from_its_local_copy_when_the_store_is_away(home: Home) -> None:
    home.store.record = record(Stage.CANARY, epoch=3)
    home.boot()
    home.store.away = True

    assert answering(home.boot()) == ("v1", "v2", 3)


def test_a_trip_survives_a_restart_while_the_store_is_away(home: Home) -> None:
    home.store.record = canary = record(Stage.CANARY, epoch=3)
    follower = home.boot()
    home.store.away = True
    follower.end_trial(canary, "score nan", 0)
    follower.refresh()
    again = home.boot()

    assert answering(again) == ("v1", None, 3)
    home.store.away = False
    again.refresh()
    assert answering(again) == ("v1", None, 4)


def test_a_damaged_local_copy_is_no_obstacle(home: Home) -> None:
    home.store.record = record()
    home.boot()
    (home.folder / "serving" / "cards.json").write_text("{")

    assert answering(home.boot()) == ("v1", None, 2)


def test_a_version_of_other_definitions_is_refused(home: Home) -> None:
    manifest = home.folder / "models" / "cards" / "v2" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"spending": "', '"spending": "0'))
    home.store.record = record(Stage.SHADOW, epoch=3)
    follower = home.boot()

    assert answering(follower) == ("v1", None, 3)


def test_a_record_that_names_no_predecessor_is_rolled_back_to_the_version_not_on_trial(home: Home) -> None:
    canary: RolloutRecord = record(Stage.CANARY, epoch=3, previous=None)
    home.store.record = canary
    follower = home.boot()
    follower.end_trial(canary, "score nan", 0)
    follower.refresh()

    assert answering(follower) == ("v1", None, 4)
