"""The stream's own tasks on a broker of lists and a store of one dictionary, so that a crash is a value.

    traffic ─► source tasks ─► keyed logs ─► view tasks ─► store, feature log
                   │  files: real        │  files: real        │ written by a queue, some jobs at a time
                   └──────────── each operation that lasts may be the last: Crash ──────────────┘

Everything that lasts is real (segments, snapshots, renames, fsync) or guarded as the real one is (commits, the store's
refusal of older rows). What a producer had not flushed arrives in part or not at all.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from feature_store.offline.offline_log import log_folder
from feature_store.offline_tables import event_schema, label_schema
from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch
from headrace.config import Settings
from headrace.contracts.topics import keyed_topic
from headrace.spec.project import Project
from streams.formats.decode import event_decoder, label_decoder
from streams.logs.dead_letters import DeadLetters
from streams.logs.keyed_log import decode_batch
from streams.logs.segment_buffer import SegmentBuffer
from streams.messages.fetch import MessageBatch
from streams.messages.payloads import Payloads
from streams.snapshots.snapshot_places import snapshot_store
from streams.sources.routes import event_routes, label_routes
from streams.sources.source_commit import SourceCommit
from streams.sources.source_task import SourceTask
from streams.views.view_group import roomy
from streams.views.view_task import ViewTask
from tests.stream_world import PARTITIONS, Traffic

__all__ = ["Broker", "Crash", "Mortality", "Process", "Store"]

Place = tuple[str, int]


class Crash(BaseException):
    """The process is gone; nothing of it runs any more, no ``except`` of its own either."""


class Mortality:
    """Ends the process at one of its operations that last, just before or just after it.

    >>> mortality = Mortality(2)
    >>> mortality.survive(), mortality.operations
    (None, 1)
    """

    def __init__(self, dies_at: int | None) -> None:
        self._dies_at = dies_at
        self.operations = 0

    def survive(self) -> None:
        """One operation more."""
        self.operations += 1
        if self.operations == self._dies_at:
            raise Crash

    @contextmanager
    def over_files(self) -> Iterator[None]:
        """Renames, removals and fsyncs count, too."""
        replace, unlink, fsync = Path.replace, Path.unlink, os.fsync

        def mortal(operation: Callable[..., Any]) -> Callable[..., Any]:
            def run(*given: Any, **named: Any) -> Any:
                self.survive()
                done = operation(*given, **named)
                self.survive()
                return done

            return run

        Path.replace, Path.unlink, os.fsync = mortal(replace), mortal(unlink), mortal(fsync)  # type: ignore[method-assign, assignment] # for this block
        try:
            yield
        finally:
            Path.replace, Path.unlink, os.fsync = replace, unlink, fsync  # type: ignore[method-assign] # as they were


@dataclass
class Broker:
    """What Kafka keeps."""

    topics: dict[Place, list[tuple[bytes | None, bytes | None, dict[str, Any], int]]] = field(default_factory=dict)
    """(value, key, headers, arrival)."""
    commits: dict[str, list[SourceCommit]] = field(default_factory=dict)

    def add(self, place: Place, value: bytes | None, key: bytes | None, headers: dict[str, Any], arrival: int) -> None:
        self.topics.setdefault(place, []).append((value, key, headers, arrival))

    @classmethod
    def with_traffic(cls, project: Project, traffic: Traffic) -> "Broker":
        """Both source topics full."""
        broker = cls()
        for topic, messages in (
            (project.streams[0].name, traffic.events),
            (project.labels[0].name, traffic.labels),
        ):
            for message in messages:
                key = None if message.key is None else message.key.encode()
                broker.add((topic, message.partition), message.value, key, {}, message.arrival_us)
            broker.commits[topic] = [SourceCommit(partition=number, offset=0) for number in range(PARTITIONS)]
        return broker

    def repeat(self, topic: str) -> None:
        """Every message of a topic is delivered again."""
        for place in [place for place in self.topics if place[0] == topic]:
            self.topics[place] += list(self.topics[place])

    def log(self, place: Place) -> list[tuple[bytes | None, bytes | None, dict[str, Any], int]]:
        return self.topics.get(place, [])


class Producer:
    """Stands for headrace.kafka_sender.Sender: in order, and safe only after a flush."""

    def __init__(self, broker: Broker, mortality: Mortality) -> None:
        self._broker, self._mortality = broker, mortality
        self._queued: list[Callable[[], None]] = []

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: dict[str, Any] | None = None,
    ) -> None:
        place = (topic, max(partition, 0))
        self._queued.append(partial(self._broker.add, place, value, key, headers or {}, 0))

    def poll(self) -> None:
        """Deliveries take no part of ours."""

    def flush(self) -> None:
        while self._queued:
            self._mortality.survive()
            self._queued.pop(0)()

    def deliver_some(self, count: int) -> None:
        """What had left before the end."""
        for job in self._queued[:count]:
            job()


@dataclass
class Store:
    """What Redis keeps: a row by view and key, replaced only by one that is not older."""

    rows: dict[tuple[str, Any], tuple[int, tuple[Any, ...]]] = field(default_factory=dict)

    def write(self, plan: ViewPlan, batch: RowBatch, version: int) -> None:
        for row, key in enumerate(batch.keys.tolist()):
            place = (plan.view.name, key)
            if version >= self.rows.get(place, (-1, ()))[0]:
                until = int(batch.valid_until_us[row])
                self.rows[place] = (version, (batch.values[row].tobytes(), int(batch.valid_from_us[row]), until))

    def content(self) -> dict[tuple[str, Any], tuple[Any, ...]]:
        return {place: content for place, (_, content) in self.rows.items()}


class OnlineQueue:
    """Stands for streams.views.online_thread.OnlineThread: jobs in order, later; those with files beside later ones."""

    def __init__(self, store: Store, mortality: Mortality, rng: Any) -> None:
        self._store, self._mortality, self._rng = store, mortality, rng
        self._jobs: list[Callable[[], object]] = []
        self._files: list[Callable[[], object]] = []

    def write(self, plan: ViewPlan, _partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None:
        assert watermark_us > -(2**63)
        self._jobs.append(partial(self._store.write, plan, rows, version))

    def do(self, job: Callable[[], object]) -> None:
        self._jobs.append(job)

    def save(self, job: Callable[[], object]) -> None:
        self._jobs.append(partial(self._files.append, job))

    def work(self, count: int) -> None:
        """Do the next few."""
        for _ in range(count):
            waiting = [jobs for jobs in (self._jobs, self._files) if jobs]
            if not waiting:
                break
            self._mortality.survive()
            waiting[int(self._rng.integers(len(waiting)))].pop(0)()

    def finish(self) -> None:
        while self._jobs or self._files:
            self.work(1)


class Process:
    """One life of the stream worker, from what lasted of the one before."""

    def __init__(
        self, settings: Settings, project: Project, broker: Broker, store: Store, mortality: Mortality, rng: Any
    ) -> None:
        self._settings, self._project, self._broker, self._rng = settings, project, broker, rng
        self._mortality = mortality
        self.sender, self.letters = Producer(broker, mortality), Producer(broker, mortality)
        self.online = OnlineQueue(store, mortality, rng)
        self._clock_us = 0
        stream, labels = project.streams[0], project.labels[0]
        routes = event_routes(project, stream, PARTITIONS), label_routes(project, labels, PARTITIONS)
        events = self._source(stream.name, event_decoder(stream, settings.stream), stream.time, routes[0])
        outcomes = self._source(labels.name, label_decoder(labels, settings.stream), None, routes[1])
        self._sources = [events, outcomes]
        self._read_to = {
            (task.topic, commit.partition): commit.offset for task in self._sources for commit in task.commits
        }
        self._views: dict[Place, list[ViewTask]] = {}
        for view in project.views:
            for number in range(PARTITIONS):
                self._open(view, number)
        self._views_at = {place: min(t.offset for t in tasks) + 1 for place, tasks in self._views.items()}
        for task in self._sources:
            task.announce()

    def live(self) -> None:
        """Work in turns of any order and size until everything is read, then leave as the worker does."""
        turns = [self._read, self._read, self._apply, self._apply, self._flush, self._save, self._log, self._work]
        while any(self._left(place) for place in self._read_to):
            turns[int(self._rng.integers(len(turns)))]()
        self._flush()
        for task in self._sources:
            task.set_idle(range(PARTITIONS), idle=True)
        self.sender.flush()
        while any(len(self._broker.log(place)) > at for place, at in self._views_at.items()):
            self._apply()
        for tasks in self._views.values():
            for view in tasks:
                self._save_task(view)
        self.online.finish()

    def end(self) -> None:
        """What the network still carries when the process is gone."""
        for producer in (self.sender, self.letters):
            producer.deliver_some(int(self._rng.integers(0, 6)))

    def _source(self, topic: str, decoder: Any, time: str | None, routes: Any) -> SourceTask:
        settings, project = self._settings, self._project
        stream, labels = project.streams[0], project.labels[0]
        kind = "events" if time else "labels"
        folder = log_folder(settings.offline_dir, project.name, kind, topic)
        task = SourceTask(
            topic=topic,
            partitions=PARTITIONS,
            decoder=decoder,
            time=time,
            lateness_us=stream.lateness_us if time else 2**61,
            future_us=stream.future_us,
            routes=[(route, keyed_topic(project.name, route.entity).name, PARTITIONS) for route in routes],
            buffer=SegmentBuffer(folder, event_schema(stream) if time else label_schema(labels)),
            sender=self.sender,  # type: ignore[arg-type] # it has what a task asks for
            dead_letters=DeadLetters(self.letters),  # type: ignore[arg-type] # as above
        )
        task.open([replace(commit, dead=dict(commit.dead)) for commit in self._broker.commits[topic]])
        return task

    def _open(self, view: Any, number: int) -> None:
        plan, settings, project = roomy(compile_view(view)), self._settings, self._project
        task = ViewTask(
            plan,
            number,
            snapshots=snapshot_store(settings, project.name, view.name, plan.version, number),
            log_dir=log_folder(settings.offline_dir, project.name, "features", view.name, number),
            online=self.online,
            now_us=self._now_us,
        )
        task.restore()
        self._views.setdefault((keyed_topic(project.name, view.entity).name, number), []).append(task)

    def _now_us(self) -> int:
        self._clock_us += 1
        return self._clock_us

    def _left(self, place: Place) -> int:
        return len(self._broker.log(place)) - self._read_to[place]

    def _read(self) -> None:
        """Messages in the order of arrival, of all partitions and topics together."""
        waiting: list[tuple[int, Place, int]] = []
        for place, start in self._read_to.items():
            arrivals = [message[3] for message in self._broker.log(place)[start : start + 120]]
            # What is delivered again keeps its arrival, and is still read behind what lies before it.
            reached = itertools.accumulate(arrivals, max)
            waiting += [(arrival, place, start + number) for number, arrival in enumerate(reached)]
        chosen = sorted(waiting)[: int(self._rng.integers(1, 200))]
        for task in self._sources:
            mine = sorted((place[1], offset) for _, place, offset in chosen if place[0] == task.topic)
            if mine:
                task.process(self._batch(task.topic, mine))
        for _, place, offset in chosen:
            self._read_to[place] = max(self._read_to[place], offset + 1)

    def _batch(self, topic: str, rows: list[tuple[int, int]]) -> MessageBatch:
        messages = [self._broker.log((topic, number))[offset] for number, offset in rows]
        return MessageBatch(
            topic=topic,
            values=Payloads.of([value or b"" for value, _, _, _ in messages]),
            keys=Payloads.of([key or b"" for _, key, _, _ in messages]),
            missing=np.array([2 * (key is None) for _, key, _, _ in messages], dtype=np.uint8),
            partitions=np.array([number for number, _ in rows], dtype=np.int32),
            offsets=np.array([offset for _, offset in rows], dtype=np.int64),
            arrivals_us=np.array([arrival for _, _, _, arrival in messages], dtype=np.int64),
            headers={},
        )

    def _flush(self) -> None:
        self.letters.flush()
        for task in self._sources:
            commits, write = task.take_segments()
            if self._rng.random() < 0.3:
                self._read()  # beside the write: not in these segments, and not in what they commit
            for commit in commits:
                write(commit.partition)
            self._mortality.survive()
            stored = {commit.partition: commit for commit in self._broker.commits[task.topic]}
            for commit in commits:
                stored[commit.partition] = replace(commit, dead=dict(commit.dead))
            self._broker.commits[task.topic] = list(stored.values())
            self._mortality.survive()
            task.committed(commits)

    def _apply(self) -> None:
        places = [place for place, at in self._views_at.items() if len(self._broker.log(place)) > at]
        if not places:
            self.sender.flush()
            return
        place = places[int(self._rng.integers(len(places)))]
        for _ in range(int(self._rng.integers(1, 12))):
            offset = self._views_at[place]
            if offset >= len(self._broker.log(place)):
                break
            batch = decode_batch(self._broker.log(place)[offset][0] or b"")
            for task in self._views[place]:
                if offset > task.offset:
                    task.take(offset, batch)
            self._views_at[place] = offset + 1
        for task in self._views[place]:
            assert not task.step(), "what is in time for its source is in time for the view"

    def _save(self) -> None:
        tasks = [task for group in self._views.values() for task in group if task.unsaved]
        if tasks:
            self._save_task(tasks[int(self._rng.integers(len(tasks)))])

    def _save_task(self, task: ViewTask) -> None:
        self.online.save(self.letters.flush)
        self.online.save(task.take_save())

    def _log(self) -> None:
        tasks = [task for group in self._views.values() for task in group if task.buffered_rows]
        if tasks:
            self.online.save(tasks[int(self._rng.integers(len(tasks)))].take_log())

    def _work(self) -> None:
        self.online.work(int(self._rng.integers(0, 5)))
