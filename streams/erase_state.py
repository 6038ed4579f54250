"""Taking a subject out of a stopped stream: its state snapshots, and the rows online that it had a part in.

Only for a worker that has stopped by itself (:mod:`streams.worker_lock`): then snapshots, Redis and offline logs are of
one moment. The rows go to Redis first and the snapshot is written last, so a run that was killed is repeated.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store.erase_influence import Influence
from feature_store.erase_online import OnlineEraser
from feature_store.erased import ErasedSubjects
from feature_store.forget import forget_events, forget_keys, held_keys
from feature_store.ids import key_partitions
from feature_store.plan import compile_view
from feature_store.redis_online import OnlineWriter
from feature_store.rows import RowBatch
from feature_store.view_state import ViewState
from headrace.config import Settings
from headrace.errors import IntegrityError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from streams.progress import Progress
from streams.snapshot import Snapshot, offsets_kept, read_newest, read_snapshot, write_snapshot
from streams.view_group import roomy

__all__ = ["ErasedState", "erase_former_definitions", "erase_state"]

_STATE = "state/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedState:
    """What left the state of one view."""

    keys: int = 0
    events: int = 0
    labels: int = 0
    rows: int = 0
    """Rows of others online that were written anew or removed."""

    def __add__(self, other: "ErasedState") -> "ErasedState":
        return ErasedState(
            keys=self.keys + other.keys,
            events=self.events + other.events,
            labels=self.labels + other.labels,
            rows=self.rows + other.rows,
        )


def erase_state(
    settings: Settings,
    project: Project,
    view: FeatureView,
    erased: ErasedSubjects,
    influence: Influence,
    *,
    dry_run: bool,
) -> ErasedState:
    """Make one view as if the subjects had never been: state of every partition, and rows online.

    Args:
        settings: where state and Redis are.
        project: of the view.
        view: which one.
        erased: the subjects.
        influence: what their events did to others.
        dry_run: only count.

    Raises:
        UnavailableError: Redis does not answer.
        IntegrityError: no snapshot of a partition is whole.
    """
    root = settings.state_dir / project.name / "views" / view.name / compile_view(view).version
    folders = {int(path.name.partition("=")[2]): path for path in root.glob("partition=*")}
    partitions = _partitions(settings, project, view, folders)
    found = ErasedState()
    with OnlineWriter(settings.redis.url, project.name) as writer:
        online = OnlineEraser(settings.redis.url, project.name)
        for number, folder in sorted(folders.items()):
            snapshot = read_newest(folder, influence.plan.version)
            if snapshot is None:
                continue
            mine = influence.keys[key_partitions(influence.keys, partitions) == number]
            part, changed, rows = _forget(snapshot, view, erased, influence, mine)
            found += part
            if dry_run:
                continue
            left = held_keys(influence.plan, _state(changed))
            for batch in rows:
                writer.write(
                    influence.plan, batch, version=max(snapshot.offset, 0), watermark_us=_watermark_us(snapshot)
                )
            written = {key for batch in rows for key in batch.keys.tolist()} | set(left.tolist())
            online.erase_rows(view, _absent(mine, written))
            if part != ErasedState():
                write_snapshot(folder, changed)
            for offset in offsets_kept(folder):
                path = folder / f"{offset:020d}.snapshot"
                if offset != snapshot.offset and _may_hold(path, view, erased, influence):
                    path.unlink()
        online.close()
    return found


def erase_former_definitions(settings: Settings, project: Project, *, dry_run: bool) -> int:
    """Remove state of views, and of definitions of views, that are no longer; gives the number of folders.

    A backfill that was stopped begins again, from logs without the subjects.
    """
    current = {(view.name, compile_view(view).version) for view in project.views}
    folders = sorted((settings.state_dir / project.name / "views").glob("*/*"))
    former = [folder for folder in folders if (folder.parent.name, folder.name) not in current]
    former += sorted((settings.state_dir / project.name / "backfill").glob("*"))
    for folder in () if dry_run else former:
        shutil.rmtree(folder)
    return len(former)


def _forget(
    snapshot: Snapshot,
    view: FeatureView,
    erased: ErasedSubjects,
    influence: Influence,
    mine: NDArray[np.generic],
) -> tuple[ErasedState, Snapshot, list[RowBatch]]:
    """What went, the state without it, and the rows of others as they are now."""
    plan, arrays = roomy(influence.plan), _state(snapshot)
    watermark_us = _watermark_us(snapshot)
    arrays, keys = forget_keys(plan, arrays, lambda held: erased.has_keys(view.entity, held))
    forgotten = forget_events(
        plan,
        arrays,
        lambda ids: erased.has_events(view.events.name, ids),
        influence.changed_us(watermark_us),
        influence.base_before,
    )
    arrays, rows = forgotten.arrays, []
    if forgotten.events or plan.view.has_lifetime:
        state = ViewState.restore(plan, arrays)
        rows.append(state.drain(log=False).latest)
        arrays = state.snapshot()
    held = set(held_keys(plan, arrays).tolist())
    rows.append(influence.rows_without_events(_absent(mine, held), watermark_us))
    rows = [batch for batch in rows if len(batch)]
    others = {name: array for name, array in snapshot.arrays.items() if not name.startswith(_STATE)}
    changed = replace(snapshot, arrays=others | {f"{_STATE}{name}": array for name, array in arrays.items()})
    part = ErasedState(keys=keys, events=forgotten.events, labels=forgotten.labels, rows=sum(map(len, rows)))
    return part, changed, rows


def _may_hold(path: Path, view: FeatureView, erased: ErasedSubjects, influence: Influence) -> bool:
    """Whether a subject may stand in a snapshot that serves only if the newest is damaged; it may in a damaged one."""
    try:
        snapshot = read_snapshot(path)
    except IntegrityError:
        return True
    return _forget(snapshot, view, erased, influence, influence.keys[:0])[0] != ErasedState()


def _partitions(settings: Settings, project: Project, view: FeatureView, saved: Collection[int]) -> int:
    """Partitions of the view's keyed log; one that was never written to has no snapshot, but was reported."""
    progress = Progress(settings.redis.url, project.name)
    try:
        reported = [report.partition for report in progress.views() if report.view == view.name]
    finally:
        progress.close()
    return max([*saved, *reported], default=0) + 1


def _absent(keys: NDArray[np.generic], known: set[Any]) -> NDArray[np.generic]:
    return keys[np.array([key not in known for key in keys.tolist()], dtype=np.bool_)]


def _state(snapshot: Snapshot) -> dict[str, NDArray[np.generic]]:
    arrays = snapshot.arrays.items()
    return {name.removeprefix(_STATE): array for name, array in arrays if name.startswith(_STATE)}


def _watermark_us(snapshot: Snapshot) -> int:
    return int(snapshot.arrays[f"{_STATE}counters"].tolist()[0])
