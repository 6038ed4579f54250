"""Taking a subject out of a stopped stream: its state snapshots, and the rows online that it had a part in.

Only for a worker that has stopped by itself (:mod:`streams.worker_lock`): then snapshots, Redis and offline logs are of
one moment. The rows go to Redis first and the snapshot is written last, so a run that was killed is repeated.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store.online.redis_online import OnlineWriter
from feature_store.partitioning import key_partitions
from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch
from feature_store.state.forget import forget_events, forget_keys, held_keys
from feature_store.state.view_state import ViewState
from feature_store.upkeep.erase_influence import Influence
from feature_store.upkeep.erase_online import OnlineEraser
from feature_store.upkeep.erased import ErasedSubjects
from headrace.config import Settings
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.types import String
from streams.progress import Progress
from streams.snapshots.snapshot_chain import read_newest, read_pieces, remove_all, write_only
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_places import definitions_saved, partitions_saved, remove_definition, snapshot_store
from streams.views.view_group import roomy

__all__ = ["ErasedState", "erase_former_definitions", "erase_state"]


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
        UnavailableError: Redis or the store of the state does not answer.
    """
    version = compile_view(view).version
    saved = partitions_saved(settings, project.name, view.name, version)
    partitions = _partitions(settings, project, view, saved)
    found = ErasedState()
    with OnlineWriter(settings.redis.url, project.name) as writer:
        online = OnlineEraser(settings.redis.url, project.name)
        for number in saved:
            store = snapshot_store(settings, project.name, view.name, version, number)
            snapshot = read_newest(store, influence.plan.version)
            if snapshot is None:
                # Nothing there can be restored; the stream begins anew, without the subjects.
                if not dry_run:
                    remove_all(store)
                continue
            mine = influence.keys[key_partitions(influence.keys, partitions) == number]
            part, changed, rows = _forget(snapshot, view, erased, influence, mine)
            found += part
            if dry_run:
                continue
            left = held_keys(influence.plan, dict(changed.state))
            for batch in rows:
                writer.write(
                    influence.plan, batch, version=max(snapshot.offset, 0), watermark_us=_watermark_us(snapshot)
                )
            written = {key for batch in rows for key in batch.keys.tolist()} | set(left.tolist())
            online.erase_rows(view, _absent(mine, written))
            # Also what lies there beside the newest state: earlier ones, and what changed between them.
            if part != ErasedState() or any(
                _may_hold(piece, view, erased, influence) for piece in read_pieces(store).values()
            ):
                write_only(store, changed)
            store.tidy()
        online.close()
    return found


def erase_former_definitions(settings: Settings, project: Project, *, dry_run: bool) -> int:
    """Remove state of views, and of definitions of views, that are no longer; gives the number of folders.

    A backfill that was stopped begins again, from logs without the subjects.
    """
    current = {(view.name, compile_view(view).version) for view in project.views}
    former = [saved for saved in definitions_saved(settings, project.name) if saved not in current]
    begun = sorted((settings.state_dir / project.name / "backfill").glob("*"))
    if not dry_run:
        for name, version in former:
            remove_definition(settings, project.name, name, version)
        for folder in begun:
            shutil.rmtree(folder)
    return len(former) + len(begun)


def _forget(
    snapshot: Snapshot,
    view: FeatureView,
    erased: ErasedSubjects,
    influence: Influence,
    mine: NDArray[np.generic],
) -> tuple[ErasedState, Snapshot, list[RowBatch]]:
    """What went, the state without it, and the rows of others as they are now."""
    plan, arrays = roomy(influence.plan), dict(snapshot.state)
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
    changed = replace(snapshot, state=arrays)
    part = ErasedState(keys=keys, events=forgotten.events, labels=forgotten.labels, rows=sum(map(len, rows)))
    return part, changed, rows


def _may_hold(piece: Snapshot | None, view: FeatureView, erased: ErasedSubjects, influence: Influence) -> bool:
    """Whether a subject may stand in a file that serves only if another is damaged; it may in a damaged one."""
    if piece is None or piece.definition != influence.plan.version:
        return True
    state = dict(piece.state)
    return bool(
        erased.has_keys(view.entity, held_keys(influence.plan, state)).any()
        or erased.has_events(view.events.name, _numbers(state["event_id"])).any()
        or erased.has_events(view.events.name, _numbers(state["pending_id"])).any()
        or _shows_a_key(influence.plan, _numbers(state["peaks"]), erased)
    )


def _shows_a_key(plan: ViewPlan, peaks: NDArray[np.int64], erased: ErasedSubjects) -> bool:
    """Whether a subject's key may be the largest value there ever was of an input."""
    for entry, peak in zip(plan.inputs, peaks.tolist(), strict=True):
        if entry.column is None or entry.column not in erased.entities:
            continue
        is_text = isinstance(plan.view.source.schema[entry.column], String)
        if is_text or erased.has_keys(entry.column, np.array([peak, -peak])).any():
            return True
    return False


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


def _numbers(array: NDArray[np.generic]) -> NDArray[np.int64]:
    return array.astype(np.int64, copy=False)


def _watermark_us(snapshot: Snapshot) -> int:
    return int(snapshot.state["counters"].tolist()[0])
