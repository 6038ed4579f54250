"""Computing a view from the offline log by the tasks that compute it live, with snapshots of their own to resume from.

    offline log ─► stretches in the order of arrival ─► routes ─► view tasks ─┬─► <state_dir>/<project>/backfill/…
                                                                              └─► nothing online before the switch

What a task takes in looks as if it came from a keyed log whose messages are the stretches. Its snapshot says how far it
is in the offline log, by the marks it keeps of the sources anyway; a run that was killed goes on from there.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feature_store.offline.offline_log import log_folder
from feature_store.offline_tables import ARRIVAL, event_schema, label_schema
from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch
from headrace.config import Settings
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import LabelledStream
from streams.backfill.rate import Rate
from streams.logs.keyed_log import NO_TIME_US, KeyedBatch, SourceMark
from streams.logs.log_replay import LoggedTopic, LogReplay, Place, Stretch
from streams.logs.segment_buffer import SourceRows
from streams.snapshots.snapshot_chain import read_newest
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_store import FolderStore
from streams.sources.routes import EntityRoute, LabelRoute, Route, no_rows
from streams.views.view_group import roomy
from streams.views.view_task import ViewTask

__all__ = ["Backfill", "BackfillProgress", "staging_folder"]

_SILENCE_US = 60_000_000
"""At least so long a partition must have been silent to be passed over."""
_LOG = "log"
_WARM_ROWS = 1_000
"""Kernels are loaded by then: the first ones may take as many seconds as all that follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillProgress:
    """What a run has done."""

    rows: int
    """Events and labels read by this run."""
    seconds: float
    too_late: int
    """Events the view has forgotten the time of, as it would have live."""


def staging_folder(settings: Settings, project: str, view: str, version: str, since_us: int | None = None) -> Path:
    """Where a backfill keeps what the worker must not see yet; one from another instant on is another one."""
    folder = settings.state_dir / project / "backfill" / view
    return folder / (version if since_us is None else f"{version}-since-{since_us}")


class Backfill:
    """One view on every partition of its keyed log.

    Args:
        settings: where logs and state are.
        project: of the view.
        view: what to compute.
        partitions: of its keyed log.
        sources: topic -> partitions of the streams it reads.
        since_us: leave out events that no row from this instant on counts; None: from the beginning.
        now_us: wall clock.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        view: FeatureView,
        *,
        partitions: int,
        sources: Mapping[str, int],
        since_us: int | None = None,
        now_us: Callable[[], int],
    ) -> None:
        self.plan: ViewPlan = roomy(compile_view(view))
        self._settings, self._project = settings, project
        self.partitions = partitions
        self._floor_us = NO_TIME_US if since_us is None else since_us - self.plan.retention_us
        self._topics, self._routes = _sources_of(settings, project, view, self.plan, sources)
        self._silence_us = max(view.events.lateness_us, _SILENCE_US)
        self.folder = staging_folder(settings, project.name, view.name, self.plan.version, since_us)
        self._tasks = [self._task(number, now_us) for number in range(partitions)]
        for task in self._tasks:
            task.restore()
        self._at = max(task.offset for task in self._tasks) + 1
        self._newest_us: dict[Place, int] = {}
        self._too_late = self._rows = 0
        self.rate = Rate(warm_rows=_WARM_ROWS)
        self._began_s = time.monotonic()
        self._saved_s = self._began_s

    @property
    def starts(self) -> dict[Place, int]:
        """First offset of each source partition that some task has not taken in."""
        known = [task.progress().sources for task in self._tasks]
        return {
            (topic.name, number): min(applied.get(f"{topic.name}:{number}", -1) for applied in known) + 1
            for topic in self._topics
            for number in range(topic.partitions)
        }

    @property
    def progress(self) -> BackfillProgress:
        """How far it is."""
        return BackfillProgress(rows=self._rows, seconds=time.monotonic() - self._began_s, too_late=self._too_late)

    def run(self, *, save_every_s: float, look: Callable[[], bool]) -> bool:
        """Read the log from where it is to its present end, and save.

        Args:
            save_every_s: wall-clock seconds between two snapshots.
            look: called after each stretch; whether to go on.

        Returns:
            Whether the end was reached.
        """
        replay = LogReplay(
            self._topics, self.starts, rows=self._settings.stream.batch_rows, silence_us=self._silence_us
        )
        reached, begun_s, rows = True, time.monotonic(), self._rows
        for stretch in replay:
            if stretch.rows or not self._at:
                self._take(stretch)
            if time.monotonic() - self._saved_s >= save_every_s:
                self.save()
            now_s = time.monotonic()
            self.rate.add(rows=self._rows - rows, seconds=now_s - begun_s)
            begun_s, rows = now_s, self._rows
            if not look():
                reached = False
                break
        self.save()
        return reached

    def save(self) -> None:
        """Make everything so far durable."""
        for task in self._tasks:
            if task.unsaved:
                task.take_save()()
        self._saved_s = time.monotonic()

    def snapshot(self, partition: int) -> Snapshot | None:
        """What is durable of one partition; None before the first stretch."""
        return read_newest(self._state(partition), self.plan.version)

    def log(self, partition: int) -> Path:
        """Feature rows of one partition."""
        return self.folder / _LOG / f"partition={partition}"

    def _take(self, stretch: Stretch) -> None:
        for topic, route in zip(self._topics, self._routes, strict=True):
            rows = stretch.rows.get(topic.name)
            if rows is not None:
                self._rows += len(rows)
                self._raise_times(topic.name, rows)
                rows = rows.where(~rows.late & (rows.times_us >= self._floor_us))
            marks = tuple(
                SourceMark(
                    partition=number,
                    offset=stretch.covered[topic.name, number],
                    newest_us=self._newest_us.get((topic.name, number), NO_TIME_US),
                    idle=stretch.idle[topic.name, number],
                )
                for number in range(topic.partitions)
            )
            route.split(rows if rows is not None else no_rows(topic.schema.names), marks, self.partitions, self._give)
            self._at += 1
        for task in self._tasks:
            self._too_late += len(task.step())
            if task.buffered_rows >= self._settings.stream.flush_rows:
                task.take_log()()

    def _give(self, partition: int, batch: KeyedBatch) -> None:
        self._tasks[partition].take(self._at, batch)

    def _raise_times(self, topic: str, rows: SourceRows) -> None:
        for number in np.unique(rows.partitions).tolist():
            newest_us = int(rows.times_us[rows.partitions == number].max())
            self._newest_us[topic, number] = max(self._newest_us.get((topic, number), NO_TIME_US), newest_us)

    def _state(self, partition: int) -> FolderStore:
        return FolderStore(self.folder / f"partition={partition}")

    def _task(self, partition: int, now_us: Callable[[], int]) -> ViewTask:
        return ViewTask(
            self.plan,
            partition,
            snapshots=self._state(partition),
            log_dir=self.log(partition),
            online=_NotYet(),
            now_us=now_us,
        )


class _NotYet:
    """Rows go online when the view is live; until then the old ones are read."""

    def write(self, plan: ViewPlan, partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None:
        """Nothing."""


def _sources_of(
    settings: Settings, project: Project, view: FeatureView, plan: ViewPlan, partitions: Mapping[str, int]
) -> tuple[list[LoggedTopic], list[Route]]:
    """Logs the view reads, and how each becomes a keyed log of its entity."""
    stream = view.events
    topics = [
        LoggedTopic(
            name=stream.name,
            folder=log_folder(settings.offline_dir, project.name, "events", stream.name),
            schema=event_schema(stream),
            time=stream.time,
            partitions=partitions[stream.name],
        )
    ]
    routes: list[Route] = [
        EntityRoute(
            stream=stream,
            source_partitions=partitions[stream.name],
            entity=view.entity,
            inputs=tuple(sorted((entry for entry in plan.inputs if not entry.is_label), key=lambda entry: entry.name)),
        )
    ]
    if isinstance(view.source, LabelledStream):
        labels = view.source.labels
        folder = log_folder(settings.offline_dir, project.name, "labels", labels.name)
        count = partitions[labels.name]
        topics.append(
            LoggedTopic(name=labels.name, folder=folder, schema=label_schema(labels), time=ARRIVAL, partitions=count)
        )
        routes.append(LabelRoute(labels=labels, source_partitions=count, entity=view.entity))
    return topics, routes
