"""Views that become ready are opened beside the worker."""

import threading
from pathlib import Path
from typing import Any

import pytest

import headrace as hr
from feature_store.plan import ViewPlan, compile_view
from headrace.errors import IntegrityError
from streams.snapshots.snapshot_store import FolderStore
from streams.views.late_views import LateViews
from streams.views.view_task import ViewTask
from tests.eventually import eventually

PLACE = ("headrace.keyed.shop.card", 3)
STREAM = hr.EventStream("tx", key="card", time="at", id="id", schema={"card": hr.Int64})
PLANS = [
    compile_view(hr.FeatureView(f"use_{hours}h", entity="card", source=STREAM, features=hr.count().over(f"{hours}h")))
    for hours in (1, 2)
]


class SlowDisk:
    """Opens a task once it is told that the disk has answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answers = threading.Event()
        self.asked: list[str] = []

    def open_view(self, plan: ViewPlan, partition: int, epoch: int) -> ViewTask:
        self.asked.append(plan.view.name)
        assert self.answers.wait(30)
        if epoch < 0:
            raise IntegrityError("its log goes on elsewhere")
        online: Any = None  # nothing is written here
        snapshots = FolderStore(self.folder)
        return ViewTask(plan, partition, snapshots=snapshots, log_dir=self.folder, online=online, now_us=lambda: 0)


def names(tasks: list[ViewTask]) -> list[str]:
    return [task.plan.view.name for task in tasks]


@pytest.fixture
def disk(tmp_path: Path) -> SlowDisk:
    return SlowDisk(tmp_path)


def test_tasks_are_given_once_when_the_disk_has_answered(disk: SlowDisk) -> None:
    views = LateViews(disk.open_view)
    views.begin(PLACE, 7, PLANS)
    views.begin(PLACE, 7, PLANS[:1])

    assert views.opened({PLACE: 7}) == {}, "nobody waits"
    disk.answers.set()
    found = eventually(lambda: views.opened({PLACE: 7}))
    assert names(found[PLACE]) == ["use_1h", "use_2h"]
    assert disk.asked == ["use_1h", "use_2h"], "what is being opened is not opened again"
    assert views.opened({PLACE: 7}) == {}
    assert not views.is_opening(PLACE)


@pytest.mark.parametrize("epochs", [{}, {PLACE: 8}])
def test_of_a_partition_that_moved_meanwhile_nothing_is_given(disk: SlowDisk, epochs: dict[Any, int]) -> None:
    views = LateViews(disk.open_view)
    views.begin(PLACE, 7, PLANS)
    eventually(lambda: disk.asked)
    disk.answers.set()
    views.give_up(PLACE)

    assert views.opened(epochs) == {}
    assert not views.is_opening(PLACE)


def test_who_gives_a_partition_up_waits_for_what_is_being_opened(disk: SlowDisk) -> None:
    views = LateViews(disk.open_view)
    views.begin(PLACE, 7, PLANS)
    views.begin(("another", 0), 7, PLANS)
    eventually(lambda: disk.asked)
    gone = threading.Thread(target=views.give_up, args=(PLACE,))
    gone.start()

    views.give_up(("another", 0))
    assert gone.is_alive()
    disk.answers.set()
    gone.join(30)
    assert not gone.is_alive()
    assert disk.asked == ["use_1h", "use_2h"], "what had not begun never does"
    assert views.opened({("another", 0): 7}).keys() == set()


def test_what_cannot_be_opened_is_said_by_the_worker(disk: SlowDisk) -> None:
    views = LateViews(disk.open_view)
    views.begin(PLACE, -1, PLANS)
    eventually(lambda: disk.asked)
    disk.answers.set()
    views.give_up(PLACE)

    with pytest.raises(IntegrityError, match="goes on elsewhere"):
        views.opened({PLACE: -1})
