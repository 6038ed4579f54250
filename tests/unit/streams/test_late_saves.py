"""A worker that sleeps between its last look at who owns the partition and the end of its save changes nothing.

A  takes in 10 rows, asks whether it is still the owner ── sleeps ──────────────────► saves
B                                                             takes over, saves, dies
C                                                                                        takes over
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headrace as hr
from feature_store.offline.offline_log import list_files, read_segment, segments
from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch
from headrace.errors import HeadraceError
from streams.logs.keyed_log import EVENTS, KeyedBatch, SourceMark
from streams.ownership.tenures import FencedError
from streams.snapshots.snapshot_store import FolderStore
from streams.views.view_task import ViewTask

STREAM = hr.EventStream(
    "events", key="key", time="at", id="id", schema={"key": hr.Int64, "size": hr.Int64}, lateness="20s"
)
PLAN = compile_view(hr.FeatureView("view", entity="key", source=STREAM, features=hr.sum("size").over("60s")))


def message(offset: int) -> KeyedBatch:
    """One row of the keyed log."""
    at = np.array([offset], dtype=np.int64)
    return KeyedBatch(
        kind=EVENTS,
        topic="events",
        partitions=1,
        marks=(SourceMark(0, offset, offset * 1_000_000, False, 1),),
        sources=np.zeros(1, dtype=np.int32),
        offsets=at,
        ids=at,
        keys=at % 3,
        times_us=at * 1_000_000,
        columns={"size": at + 1},
    )


class Nowhere:
    """The online store of this test."""

    def write(self, plan: ViewPlan, partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None: ...

    def do(self, job: Callable[[], object]) -> None:
        job()


class World:
    """One partition of a view on a disk."""

    def __init__(self, folder: Path) -> None:
        self.state, self.log = folder / "state", folder / "log"
        self.clock = iter(range(10**9))

    def owner(self, epoch: int) -> ViewTask:
        """A worker that has claimed the partition and has not looked at the disk yet."""
        return ViewTask(
            PLAN,
            0,
            snapshots=FolderStore(self.state),
            log_dir=self.log,
            online=Nowhere(),
            now_us=lambda: next(self.clock),
            epoch=epoch,
        )

    def life(self, epoch: int, *ends: int) -> ViewTask:
        """Takes over, and saves at each of these offsets."""
        task = self.owner(epoch)
        task.restore()
        for end in ends:
            apply(task, end)
            task.take_save()()
        return task

    def rows(self) -> list[dict[str, Any]]:
        """Of the feature log, every one that any file holds, without when it was written."""
        assert segments(self.log) == list_files(self.log), "none covers another"
        tables = [
            read_segment(segment.path).drop_columns(["created_timestamp", "version"]) for segment in segments(self.log)
        ]
        return [row for table in tables for row in table.to_pylist()]


def apply(task: ViewTask, end: int) -> None:
    """Messages up to an offset, one a step."""
    for offset in range(task.offset + 1, end + 1):
        task.take(offset, message(offset))
        task.step()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def expected(tmp_path: Path) -> list[dict[str, Any]]:
    """The log of one worker that nothing happened to."""
    calm = World(tmp_path / "calm")
    calm.life(1, 49)
    return sorted(calm.rows(), key=repr)


@pytest.mark.parametrize("asleep_until", [25, 19, 39])
@pytest.mark.parametrize("saved_by_the_next", [(), (19,), (19, 29), (39,)])
def test_a_save_that_comes_late_is_not_believed(
    world: World, expected: list[dict[str, Any]], asleep_until: int, saved_by_the_next: tuple[int, ...]
) -> None:
    sleeper = world.life(7, 4, 9)
    apply(sleeper, asleep_until)
    late = sleeper.take_save()

    world.life(8, *saved_by_the_next)
    late()
    last = world.owner(9)

    assert last.restore() == max((10, *(end + 1 for end in saved_by_the_next)))
    apply(last, 49)
    last.take_save()()
    assert sorted(world.rows(), key=repr) == expected
    again = world.owner(10)
    assert again.restore() == 50


def test_one_that_comes_while_the_next_owner_lives_is_gone_with_its_next_save(
    world: World, expected: list[dict[str, Any]]
) -> None:
    sleeper = world.life(7, 4, 9)
    apply(sleeper, 39)
    late = sleeper.take_save()
    task = world.life(8, 19)
    late()

    for end in (29, 49):
        apply(task, end)
        task.take_save()()

    assert sorted(world.rows(), key=repr) == expected
    assert world.owner(9).restore() == 50


@pytest.fixture
def at_rename(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something happen once, right before a file of some kind is renamed into place."""
    rename = Path.replace

    def wait_for(kind: str, happening: Callable[[], object]) -> None:
        def replace(path: Path, target: Path) -> Path:
            if target.name.endswith(kind):
                monkeypatch.setattr(Path, "replace", rename)
                happening()
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", replace)

    return wait_for


@pytest.mark.parametrize(
    ("saved", "kind"), [((4,), ".snapshot"), ((4, 9), ".delta"), ((4, 9), ".parquet")], ids=["whole", "changes", "log"]
)
def test_one_that_sleeps_before_the_rename_finds_its_file_gone(
    world: World,
    expected: list[dict[str, Any]],
    at_rename: Callable[[str, Callable[[], object]], None],
    saved: tuple[int, ...],
    kind: str,
) -> None:
    sleeper = world.life(7, *saved)
    apply(sleeper, 29)
    at_rename(kind, lambda: world.life(8, 19))

    with pytest.raises(HeadraceError, match="cannot be written"):
        sleeper.take_save()()

    last = world.life(9, 49)
    assert sorted(world.rows(), key=repr) == expected
    assert last.offset == 49


def test_one_that_sleeps_before_it_has_begun_knows_it_when_it_wakes(
    world: World, expected: list[dict[str, Any]]
) -> None:
    world.life(7, 4, 9)
    sleeper = world.owner(8)
    world.life(9, 19, 29)

    with pytest.raises(FencedError, match="what owner 9 has written"):
        sleeper.restore()

    assert world.life(10, 49).offset == 49
    assert sorted(world.rows(), key=repr) == expected
