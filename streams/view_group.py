"""All views of a project in one process: reads the keyed logs and runs a task for each partition of each view."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from confluent_kafka import TopicPartition

from feature_store.erased import ErasedSubjects, register_path
from feature_store.offline_log import log_folder
from feature_store.plan import ViewPlan, compile_view
from headrace.config import Settings
from headrace.contracts.streams import ViewProgress
from headrace.contracts.topics import keyed_topic
from headrace.errors import IntegrityError
from headrace.kafka_clients import consumer, partition_counts, take, watermarks
from headrace.kafka_sender import Sender
from headrace.logging import get_logger
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from streams.dead_letters import DeadLetter, DeadLetters, read_originals
from streams.erased_rows import ErasedBatches
from streams.keyed_log import decode_batch
from streams.open_views import OpenViews, state_folder
from streams.view_task import OnlineRows, TooLate, ViewTask

__all__ = ["ViewGroup", "roomy"]

_AT_ONCE = 50
"""Messages of one call; each holds thousands of rows when there is much to do."""
_TURN = 24
"""Micro-batches of rows taken in one turn: what the worker forwards in one, with room for labels and several views."""
_FEW = 20
_MORE_S = 0.01
"""With many rows (at least this part of a micro-batch) more are on their way, and a key is written online once."""
_LOOK_EVERY_S = 1.0
"""Wait between two looks for views whose backfill has ended."""
_ROOM_US = 600_000_000
_LOG = get_logger(__name__)


class ViewGroup:
    """View tasks of every partition.

    Args:
        settings: where everything is.
        project: whose views.
        online: where rows go.
        now_us: wall clock.
        log: whether to keep the offline feature log.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        *,
        online: OnlineRows,
        now_us: Callable[[], int],
        log: bool = True,
    ) -> None:
        self._settings = settings
        self._bootstrap = settings.kafka.bootstrap
        self._log = log
        self._online = online
        self._consumer = consumer(settings, f"headrace.{project.name}.views", config={"auto.offset.reset": "error"})
        self._letters = Sender(settings)
        self._dead_letters = DeadLetters(self._letters)
        self._erased = ErasedBatches(ErasedSubjects(register_path(settings, project.name)), project)
        self._tasks: dict[tuple[str, int], list[ViewTask]] = {}
        self._due_s: dict[int, float] = {}
        self._dirty: dict[int, bool] = {}
        self._project, self._now_us = project, now_us
        self._choice = OpenViews(settings, project, plan_of=lambda view: roomy(compile_view(view)))
        self._looked_s = time.monotonic()
        self._open_all(self._choice.at_start())

    def step(self, wait_s: float) -> int:
        """Apply what there is; how many rows that were.

        Args:
            wait_s: longest wait for the first message.
        """
        self._open_ready()
        rows, touched = self._read(wait_s)
        for place in touched:
            for task in self._tasks[place]:
                self._refuse(task.step(log=self._log))
                self._dirty[id(task)] = True
        self._save_due()
        return rows

    def progress(self) -> list[ViewProgress]:
        """Reports of the tasks that moved since the last call."""
        moved = [task for tasks in self._tasks.values() for task in tasks if self._dirty[id(task)]]
        self._dirty = dict.fromkeys(self._dirty, False)
        return [task.progress() for task in moved]

    @property
    def is_new(self) -> bool:
        """Whether no task has taken anything in, so that no row can be missing."""
        return all(task.offset < 0 for tasks in self._tasks.values() for task in tasks)

    def write_again(self) -> None:
        """Write every row online that the state knows; the store has lost some."""
        for tasks in self._tasks.values():
            for task in tasks:
                task.write_again()
                self._refuse(task.step(log=self._log))

    def save(self) -> None:
        """Make everything durable, once what was given to the online store is written."""
        for tasks in self._tasks.values():
            for task in tasks:
                if task.unsaved:
                    self._save(task)

    def close(self) -> None:
        """Leave; what was not saved is read again next time."""
        self._consumer.close()

    def _open_ready(self) -> None:
        """Open views whose backfill has ended; they are read from their switch, which the others pass over."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        if ready := self._choice.now_ready():
            self._open_all(ready)

    def _open_all(self, views: Sequence[FeatureView]) -> None:
        known = set(self._due_s)
        for view in views:
            self._open(view, self._project, self._online, self._now_us)
        self._consumer.assign(
            [TopicPartition(*place, self._start(place, tasks)) for place, tasks in self._tasks.items()]
        )
        opened = [task for tasks in self._tasks.values() for task in tasks if id(task) not in known]
        pause_s, now_s = self._settings.stream.snapshot_every_s, time.monotonic()
        # Staggered, so that no two snapshots make one long stop.
        self._due_s |= {id(task): now_s + pause_s * (n + 1) / len(opened) for n, task in enumerate(opened)}
        self._dirty |= dict.fromkeys(map(id, opened), True)
        for task in opened:
            # Rows of a new definition are due at once, not with the next message.
            self._refuse(task.step(log=self._log))

    def _open(self, view: FeatureView, project: Project, online: OnlineRows, now_us: Callable[[], int]) -> None:
        settings, plan = self._settings, roomy(compile_view(view))
        topic = keyed_topic(project.name, view.entity).name
        for partition in range(partition_counts(settings, [topic])[topic]):
            state = state_folder(settings, project.name, view.name, plan.version) / f"partition={partition}"
            task = ViewTask(
                plan,
                partition,
                state_dir=state,
                log_dir=log_folder(settings.offline_dir, project.name, "features", view.name, partition),
                online=online,
                now_us=now_us,
            )
            task.restore()
            self._tasks.setdefault((topic, partition), []).append(task)
            _LOG.info("view opened", view=view.name, partition=partition, offset=task.offset + 1)

    def _start(self, place: tuple[str, int], tasks: list[ViewTask]) -> int:
        """First offset to read."""
        start = min(task.offset for task in tasks) + 1
        first, end = watermarks(self._consumer, *place, self._bootstrap)
        if not first <= start <= end:
            raise IntegrityError(
                f"{place[0]}:{place[1]} holds the offsets {first} to {end}, but the state continues at {start}",
                hint="topic and state are of different runs; remove both, or restore both",
            )
        return start

    def _read(self, wait_s: float) -> tuple[int, set[tuple[str, int]]]:
        rows, touched, limit = 0, set(), _TURN * self._settings.stream.batch_rows
        messages = take(self._consumer, 1, wait_s, self._bootstrap)
        while messages:
            for message in messages:
                place = (message.topic(), message.partition())
                offset = message.offset()
                batch = self._erased.without(decode_batch(message.value()), self._tasks[place][0].plan.view.entity)
                rows += len(batch)
                touched.add(place)
                for task in self._tasks[place]:
                    # Two views of one entity may have been saved at different offsets.
                    if offset > task.offset:
                        task.take(offset, batch)
            if rows >= limit:
                break
            messages = take(self._consumer, _AT_ONCE, 0, self._bootstrap)
            if not messages and rows * _FEW > self._settings.stream.batch_rows:
                messages = take(self._consumer, 1, _MORE_S, self._bootstrap)
        return rows, touched

    def _save(self, task: ViewTask) -> None:
        # Behind the rows it was given: the state must not be ahead of what it will not produce again.
        self._online.do(self._letters.flush)
        self._online.do(task.take_save())

    def _save_due(self) -> None:
        now_s = time.monotonic()
        for tasks in self._tasks.values():
            for task in tasks:
                if task.buffered_rows >= self._settings.stream.flush_rows:
                    self._online.do(task.take_log())
                if now_s >= self._due_s[id(task)]:
                    self._due_s[id(task)] = now_s + self._settings.stream.snapshot_every_s
                    if task.unsaved:
                        self._save(task)

    def _refuse(self, too_late: list[TooLate]) -> None:
        if not too_late:
            return
        topic = too_late[0].topic
        wanted = {(event.partition, event.offset) for event in too_late}
        originals: dict[tuple[int, int], Any] = read_originals(self._settings, topic, wanted)
        # Once a message, however many of its events are too late.
        for event in {(event.partition, event.offset): event for event in too_late}.values():
            key, value = originals.get((event.partition, event.offset), (None, None))
            self._dead_letters.send(
                DeadLetter(
                    topic=event.topic,
                    partition=event.partition,
                    offset=event.offset,
                    reason="late",
                    detail=event.detail,
                    key=key,
                    value=value,
                )
            )


def roomy(plan: ViewPlan) -> ViewPlan:
    """The plan with room for what a source partition cannot know: how far the others, and the labels, are.

    Lateness is decided at the source, against one partition. A view stands between all of them, read in step to a
    quarter of the lateness, so what it keeps, corrects and waits for reaches back about twice as far.
    """
    room_us = max(plan.lateness_us, _ROOM_US)
    return replace(plan, lateness_us=plan.lateness_us + room_us, retention_us=plan.retention_us + room_us)
