"""All source topics of a project in one process: fetched in step, processed, flushed, kept from idling."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from feature_store.erased import ErasedSubjects, register_path
from feature_store.offline_log import log_folder
from feature_store.offline_tables import event_schema, label_schema
from headrace.config import Settings
from headrace.contracts.streams import SourceProgress
from headrace.contracts.topics import keyed_topic
from headrace.errors import UnavailableError
from headrace.kafka_clients import admin_client, consumer, latest_offsets, partition_counts
from headrace.kafka_sender import Sender
from headrace.logging import get_logger
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream
from streams.confluent_reader import ConfluentReader
from streams.dead_letters import DeadLetters
from streams.decode import label_decoder
from streams.erased_rows import ErasedMessages
from streams.fetch import Fetcher
from streams.formats.decoders import stream_decoder
from streams.idleness import IdleWatch
from streams.librdkafka import find_librdkafka
from streams.message_runs import MessageReader
from streams.native_reader import NativeReader
from streams.routes import event_routes, label_routes
from streams.schema_registry import SchemaRegistry
from streams.schema_registry_choice import PatientRegistry, open_registry
from streams.segment_buffer import SegmentBuffer
from streams.source_commit import read_commits, write_commits
from streams.source_task import SourceTask

__all__ = ["SourceGroup"]

_NEVER_LATE_US = 2**61
_FLUSH_WAIT_S = 0.2
"""A producer that asked for a flush waits this long for others to join in, while there is more to read."""
_ENDS_WAIT_S = 5.0
"""A broker that is away is asked again after this long; between two questions the worker can be stopped. A busy machine
answers within it: two seconds were too few with a load of 15 on two cores."""
_LOG = get_logger(__name__)


@dataclass(slots=True)
class _Schedule:
    """When what is processed must be flushed."""

    every_s: float
    flushed_s: float
    wanted_s: float | None = None

    def is_due(self, tasks: list[SourceTask], *, quiet: bool, max_rows: int, now_s: float) -> bool:
        if any(task.wants_flush for task in tasks):
            self.wanted_s = now_s if self.wanted_s is None else self.wanted_s
            if quiet or now_s - self.wanted_s > _FLUSH_WAIT_S:
                return True
        rows = max(task.buffered_rows / len(task.commits) for task in tasks)
        return rows >= max_rows or now_s - self.flushed_s >= self.every_s


class SourceGroup:
    """Source tasks of every stream and label stream of a project.

    Args:
        settings: where everything is.
        project: whose streams.
        now_us: wall clock.
        stop: set when nobody wants to wait for a server any longer.
    """

    def __init__(
        self, settings: Settings, project: Project, *, now_us: Callable[[], int], stop: threading.Event
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._project = project
        self._now_us = now_us
        self._bootstrap = settings.kafka.bootstrap
        self._sender = Sender(settings, linger_ms=1)
        self._letters = Sender(settings)
        self._dead_letters = DeadLetters(self._letters)
        self._consumer = consumer(
            settings,
            f"headrace.{project.name}.sources",
            config={"enable.partition.eof": True, "auto.offset.reset": "error"},
        )
        slack_us = min((stream.lateness_us for stream in project.streams), default=0) // 4
        self._erased = ErasedSubjects(register_path(settings, project.name))
        ends = partial(latest_offsets, settings, admin_client(settings), timeout_s=_ENDS_WAIT_S)
        library = find_librdkafka()
        reader: MessageReader = ConfluentReader(self._consumer, self._bootstrap)
        if library is not None:
            reader = NativeReader(library, self._consumer, self._bootstrap)
        else:
            _LOG.warning("reading messages the slow way", why="this librdkafka was never tried")
        self._fetcher = Fetcher(self._consumer, reader, ends=ends, slack_us=slack_us)
        self._tasks = [self._event_task(stream) for stream in project.streams]
        self._tasks += [self._label_task(labels) for labels in project.labels]
        self._by_topic = {task.topic: task for task in self._tasks}
        places = [(task.topic, commit.partition) for task in self._tasks for commit in task.commits]
        now_s = time.monotonic()
        self._idle = IdleWatch(places, now_s=now_s)
        self._places = places
        self._unreported = True
        self._schedule = _Schedule(every_s=settings.stream.snapshot_every_s, flushed_s=now_s)
        self._fetcher.assign(
            {(task.topic, commit.partition): commit.offset for task in self._tasks for commit in task.commits}
        )
        for task in self._tasks:
            task.announce()

    @property
    def has_backlog(self) -> bool:
        """Whether the last step read so much that there is likely more at once."""
        return self._fetcher.has_backlog

    def step(self, wait_s: float) -> int:
        """Process what there is; how many messages that were.

        Args:
            wait_s: longest wait for the first of them.
        """
        batches = self._fetcher.fetch(self._settings.stream.batch_rows, wait_s)
        now_s = time.monotonic()
        seen = {(batch.topic, int(number)) for batch in batches for number in set(batch.partitions.tolist())}
        self._set_idle(self._idle.saw(seen, now_s=now_s), idle=False)
        for batch in batches:
            self._by_topic[batch.topic].process(batch)
        self._rest(now_s)
        max_rows = self._settings.stream.flush_rows
        if self._schedule.is_due(self._tasks, quiet=not batches, max_rows=max_rows, now_s=now_s):
            self.flush()
        return sum(map(len, batches))

    def _rest(self, now_s: float) -> None:
        """Call partitions idle that have been read to their ends for a while.

        The broker has the last word: of a busy machine messages may lie there for longer than the while.
        """
        ended = [place for place in self._places if self._fetcher.is_at_end(*place)]
        resting = self._idle.candidates(ended, now_s=now_s)
        if resting:
            try:
                self._fetcher.ask_ends(resting)
            except UnavailableError:
                return  # asked again next time; nobody rests while the broker is away
            ended = [place for place in ended if self._fetcher.is_at_end(*place)]
            self._set_idle(self._idle.look(ended, now_s=now_s), idle=True)

    def flush(self) -> None:
        """Make durable what was processed, then commit it.

        Raises:
            UnavailableError: the broker does not answer; nothing was committed.
        """
        self._letters.flush()
        for task in self._tasks:
            commits = task.write_segments()
            write_commits(self._consumer, task.topic, commits, self._bootstrap)
            task.committed()
        self._schedule.flushed_s = time.monotonic()
        self._schedule.wanted_s = None
        self._unreported = True

    def report_again(self) -> None:
        """Let :meth:`progress` say how far each partition is, moved or not; who keeps the reports has lost some."""
        self._unreported = True

    def progress(self) -> list[SourceProgress]:
        """How far each partition is, as committed; empty when nothing was since the last call."""
        if not self._unreported:
            return []
        self._unreported = False
        return [
            SourceProgress(
                topic=task.topic,
                partition=commit.partition,
                offset=commit.offset,
                newest_us=commit.newest_us,
                rows=commit.rows,
                dead_letters=dict(commit.dead),
                at_us=self._now_us(),
            )
            for task in self._tasks
            for commit in task.durable
        ]

    def close(self) -> None:
        """Leave; what was not flushed is read again next time."""
        self._fetcher.close()
        self._consumer.close()

    def _set_idle(self, places: set[tuple[str, int]], *, idle: bool) -> None:
        for task in self._tasks:
            task.set_idle([number for topic, number in places if topic == task.topic], idle=idle)

    def _event_task(self, stream: EventStream) -> SourceTask:
        count = partition_counts(self._settings, [stream.name])[stream.name]
        decoder = stream_decoder(stream, self._registry)
        return self._task(stream, decoder, event_schema(stream), event_routes(self._project, stream, count))

    def _registry(self) -> SchemaRegistry:
        return PatientRegistry(open_registry(self._settings), self._stop)

    def _label_task(self, labels: LabelStream) -> SourceTask:
        count = partition_counts(self._settings, [labels.name])[labels.name]
        return self._task(
            labels, label_decoder(labels), label_schema(labels), label_routes(self._project, labels, count)
        )

    def _task(self, source: EventStream | LabelStream, decoder: Any, schema: Any, routes: Any) -> SourceTask:
        settings, project, topic = self._settings, self._project, source.name
        stream = source if isinstance(source, EventStream) else None
        keyed = [keyed_topic(project.name, route.entity).name for route in routes]
        counts = partition_counts(settings, [topic, *keyed])
        commits = read_commits(self._consumer, topic, counts[topic], self._bootstrap)
        folder = log_folder(settings.offline_dir, project.name, "events" if stream else "labels", topic)
        _LOG.info("source opened", topic=topic, partitions=len(commits), messages=sum(c.offset for c in commits))
        return SourceTask(
            topic=topic,
            decoder=decoder,
            time=stream.time if stream else None,
            lateness_us=stream.lateness_us if stream else _NEVER_LATE_US,
            future_us=stream.future_us if stream else 3_600_000_000,
            routes=[(route, name, counts[name]) for route, name in zip(routes, keyed, strict=True)],
            buffer=SegmentBuffer(folder, schema),
            sender=self._sender,
            dead_letters=self._dead_letters,
            starts=commits,
            erased=ErasedMessages(self._erased, source),
        )
