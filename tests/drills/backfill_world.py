"""A stream worker of lists that leaves one view closed until it has been backfilled, as the real one does."""

from typing import Any

import numpy as np

from feature_store.definitions.applied_views import AppliedViews, change_applied
from feature_store.plan import compile_view
from feature_store.rows import RowBatch
from feature_store.state.view_state import ViewState
from headrace.config import Settings
from headrace.contracts.topics import keyed_topic
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from streams.backfill.backfill import Backfill
from streams.backfill.backfill_switch import applied_offsets, go_live
from streams.backfill.switch_point import SwitchPoint, find_switch
from streams.logs.keyed_log import decode_batch
from streams.snapshots.snapshot_chain import read_newest
from streams.snapshots.snapshot_places import snapshot_store
from streams.views.view_group import roomy
from tests.drills.simulated_world import Broker, Mortality, Process, Store
from tests.stream_world import PARTITIONS

__all__ = ["BackfillProcess", "backfill", "backfill_of", "final_rows", "immortal"]


def immortal() -> Mortality:
    """Of a process that does not die."""
    return Mortality(None)


class BackfillProcess(Process):
    """Opens every view but one.

    Args:
        closed: name of the view that waits.
    """

    def __init__(
        self, settings: Settings, project: Project, broker: Broker, store: Store, rng: Any, *, closed: str = ""
    ) -> None:
        self._closed = closed
        super().__init__(settings, project, broker, store, immortal(), rng)

    def turns(self, count: int) -> None:
        """Some work, in any order."""
        turns = [self._read, self._read, self._apply, self._apply, self._flush, self._save, self._log, self._work]
        for _ in range(count):
            turns[int(self._rng.integers(len(turns)))]()

    def flush(self) -> None:
        """As once in a while, or before it leaves."""
        self._flush()

    def leave(self) -> None:
        """Stop as the worker does, with more to read."""
        self._flush()
        self.save()

    def save(self) -> None:
        """Save every view."""
        for tasks in self._views.values():
            for task in tasks:
                self._save_task(task)
        self.online.finish()

    def open(self, view: FeatureView) -> None:
        """The view that waited."""
        for number in range(PARTITIONS):
            self._closed = ""
            self._open(view, number)
            place = (keyed_topic(self._project.name, view.entity).name, number)
            self._views_at[place] = min(task.offset for task in self._views[place]) + 1
            self._views[place][-1].step()

    def _open(self, view: Any, number: int) -> None:
        if view.name != self._closed:
            super()._open(view, number)


def backfill_of(settings: Settings, project: Project, view: FeatureView, since_us: int | None = None) -> Backfill:
    """A run, from the beginning or from where one was stopped."""
    clock = iter(range(10**12, 2 * 10**12))
    sources = dict.fromkeys([stream.name for stream in (*project.streams, *project.labels)], PARTITIONS)
    return Backfill(
        settings, project, view, partitions=PARTITIONS, sources=sources, since_us=since_us, now_us=lambda: next(clock)
    )


def backfill(
    settings: Settings,
    project: Project,
    view: FeatureView,
    broker: Broker,
    process: BackfillProcess,
    since_us: int | None = None,
) -> list[SwitchPoint]:
    """Compute the view from what is durable, and hand it over."""
    run = backfill_of(settings, project, view, since_us)
    run.run(save_every_s=1e9, look=lambda: True)
    topic = keyed_topic(project.name, view.entity).name
    switches = []
    for number in range(PARTITIONS):
        log = [decode_batch(value or b"") for value, _, _, _ in broker.log((topic, number))]
        snapshot = run.snapshot(number)
        assert snapshot is not None
        switches.append(
            find_switch(
                lambda start, stop, log=log: [(offset, log[offset]) for offset in range(start, stop)],
                0,
                len(log),
                applied_offsets(run.plan, snapshot),
                [entry.name for entry in run.plan.inputs if not entry.is_label],
                where=f"{topic}:{number}",
            )
        )
    with change_applied(settings, project.name) as pen:
        pen.views = pen.views or AppliedViews()
    go_live(settings, project, run, switches, process.online, since_us=since_us, rows_per_s=1.0)
    return switches


def final_rows(settings: Settings, project: Project, view: FeatureView) -> dict[Any, tuple[bytes, ...]]:
    """Key -> everything that stands online for it at the end, but for the offset it was written at."""
    plan, found = roomy(compile_view(view)), {}
    for number in range(PARTITIONS):
        store = snapshot_store(settings, project.name, view.name, plan.version, number)
        snapshot = read_newest(store, plan.version)
        assert snapshot is not None
        state = ViewState.restore(plan, dict(snapshot.state))
        state.touch_all()
        rows = state.drain(log=False).latest
        for row, key in enumerate(rows.keys.tolist()):
            # A key without events is forgotten sooner or later; its row online is compared in the store.
            if rows.state_start[row] < rows.state_start[row + 1]:
                found[key] = (*_content(rows, row), state.watermark_us.to_bytes(8, "little", signed=True))
    return found


def _content(rows: RowBatch, row: int) -> tuple[bytes, ...]:
    part = slice(int(rows.state_start[row]), int(rows.state_start[row + 1]))
    return (
        rows.values[row].tobytes(),
        rows.valid_from_us[row].tobytes(),
        rows.valid_until_us[row].tobytes(),
        rows.state_t[part].tobytes(),
        rows.state_id[part].tobytes(),
        np.ascontiguousarray(rows.state_inputs[:, part]).tobytes(),
        rows.state_base[row].tobytes(),
    )
