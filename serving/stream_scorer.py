"""Scores every event of a stream with the predictor that answers over HTTP, on the features the stream computes.

    event topic ──► read ──► wait for the stream ──► one lookup ──► score ──► prediction log ──► commit offsets

An event is committed only after its prediction is in the log; after a crash it is scored again, under the same
prediction id. What the stream refuses is skipped here; the dead-letter topic has it.
"""

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from feature_store.online.lookup import OnlineReader, ViewRow
from headrace.config import Settings
from headrace.contracts.messages import MessageRow, OpenReader
from headrace.contracts.topics import keyed_topic
from headrace.errors import ConfigError, HeadraceError, UnavailableError
from headrace.kafka_clients import consumer, ensure_topics, partition_counts, take
from headrace.logging import get_logger
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import EventStream
from serving.event_lookup import lookup_request
from serving.model_service import ModelService
from serving.parts import ServingParts, assemble
from serving.request_event import RequestEvent
from serving.stream_progress import SourceEvent, StreamProgress, coverage

__all__ = ["run"]

BATCH = 500
APPLIED_WAIT_S = 10.0
"""Longest wait until the stream has applied a batch. Longer, and it is scored on the state so far."""
PASSED_WAIT_S = 0.5
"""Longest wait, after that, for watermarks to pass the batch: in a quiet live stream they cannot."""
_LOOK_S = 0.02
_RETRY_S = 1.0
_FLUSH_S = 5.0
_log = get_logger(__name__)


def run(settings: Settings, project: Project, open_reader: OpenReader) -> int:
    """Score until SIGTERM or Ctrl-C.

    Args:
        settings: where things are.
        project: whose models score.
        open_reader: makes what reads a topic.

    Raises:
        ConfigError: the project has no model.
    """
    if not project.models:
        raise ConfigError(f"project {project.name!r} declares no model", hint="add a Model to score its events")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    scorer = StreamScorer(settings, project, stop, open_reader)
    gc.freeze()  # full collections need not look at what was imported
    scorer.run()
    return 0


@dataclass(frozen=True, slots=True)
class _Placed:
    """An event and where it came from."""

    event: RequestEvent
    source: str
    offset: int


class StreamScorer:
    """One consumer of the event topics of a project's models.

    Args:
        settings: where things are.
        project: whose models score.
        stop: set from outside to end after the batch in hand.
        open_reader: makes what reads a topic.
    """

    def __init__(self, settings: Settings, project: Project, stop: threading.Event, open_reader: OpenReader) -> None:
        self._settings, self._project, self._stop = settings, project, stop
        self._streams = {model.events.name: model.events for model in project.models}
        self._readers = {name: open_reader(stream) for name, stream in self._streams.items()}
        self._partitions: Mapping[str, int] = {}
        self.skipped = 0
        """What the stream refuses: messages that are no event, and rows of those that hold many."""
        self.scored = 0
        """Predictions in the log."""

    def run(self) -> None:
        """Consume until ``stop``."""
        settings, topics = self._settings, sorted(self._streams)
        ensure_topics(settings, topics)
        self._partitions = self._keyed_partitions()
        reader = OnlineReader(settings.redis.url, self._project)
        progress = StreamProgress(settings.redis.url, self._project.name)
        parts = assemble(settings, self._project, name=f"stream:{socket.gethostname()}:{os.getpid()}", source="stream")
        parts.start()
        client = consumer(settings, f"headrace.score.{self._project.name}")
        client.subscribe(topics)
        _log.info("scoring", topics=",".join(topics), models=",".join(parts.services))
        try:
            while not self._stop.is_set():
                messages = take(client, BATCH, 0.1, settings.kafka.bootstrap)
                if messages and self._score(messages, parts, reader, progress):
                    _commit(client, messages)
        finally:
            client.close()
            parts.close()
            progress.close()
            reader.close()
            _log.info("scoring stopped", scored=self.scored, skipped=self.skipped)

    def _score(
        self, messages: Sequence[Any], parts: ServingParts, reader: OnlineReader, progress: StreamProgress
    ) -> bool:
        """Score a batch and see it logged; False when it was stopped before that."""
        placed = self._read(messages)
        if placed is None:
            return False
        for service in parts.services.values():
            mine = placed.get(service.model.events.name, [])
            if not mine or parts.follower.current(service.model.name) is None:
                continue  # before the first champion nobody can be scored
            own = [view for view in service.model.views if view.events is service.model.events]
            self._wait(mine, own, progress)
            rows = self._look_up(mine, service, reader)
            if rows is None:
                return False
            self.scored += len(service.predict([item.event for item in mine], rows))
        while not parts.log.flush(_FLUSH_S):
            if self._stop.is_set():
                return False
            _log.warning("predictions wait for the broker", waiting=parts.log.waiting)
        return True

    def _read(self, messages: Sequence[Any]) -> dict[str, list[_Placed]] | None:
        """Events of a batch by topic; None when stopped while the schema registry was away."""
        by_topic: dict[str, list[Any]] = {}
        for message in messages:
            by_topic.setdefault(message.topic(), []).append(message)
        placed: dict[str, list[_Placed]] = {}
        for topic, found in by_topic.items():
            read = self._rows(topic, found)
            if read is None:
                return None
            placed[topic] = [
                _Placed(
                    _event(self._streams[topic], row.fields),
                    f"{topic}:{found[row.place].partition()}",
                    found[row.place].offset(),
                )
                for row in read
            ]
        return placed

    def _rows(self, topic: str, messages: Sequence[Any]) -> list[MessageRow] | None:
        values = [message.value() or b"" for message in messages]
        arrivals_us = [message.timestamp()[1] * 1000 for message in messages]
        while not self._stop.is_set():
            try:
                rows, refused = self._readers[topic].read(values, arrivals_us)
            except UnavailableError as error:
                _log.warning("scoring waits for the schema registry", reason=error.args[0])
                self._stop.wait(_RETRY_S)
                continue
            self.skipped += refused
            return rows
        return None

    def _wait(self, placed: Sequence[_Placed], views: Sequence[FeatureView], progress: StreamProgress) -> None:
        """Wait, within bounds, until the stream has applied the events and their past."""
        entities = {view.entity for view in views}
        if not entities:
            return
        events = [
            SourceEvent(
                source=item.source,
                offset=item.offset,
                time_us=item.event.time_us,
                keys={entity: item.event.fields[entity] for entity in entities},
            )
            for item in placed
        ]
        began = time.monotonic()
        applied_at: float | None = None
        while not self._stop.is_set():
            try:
                seen = coverage(events, views, self._partitions, progress.read())
            except UnavailableError:
                return  # the lookup waits for Redis
            now = time.monotonic()
            if seen.applied and applied_at is None:
                applied_at = now
            if seen.passed or (applied_at is not None and now - applied_at > PASSED_WAIT_S):
                return
            if applied_at is None and now - began > APPLIED_WAIT_S:
                _log.warning("scored before the stream applied it", events=len(events), first_offset=events[0].offset)
                return
            self._stop.wait(_LOOK_S)

    def _look_up(
        self, placed: Sequence[_Placed], service: ModelService, reader: OnlineReader
    ) -> list[dict[str, ViewRow]] | str | None:
        """Features of all events in one round trip, or why there are none; None when stopped while waiting."""
        requests = [lookup_request(service.model, item.event) for item in placed]
        while not self._stop.is_set():
            try:
                return reader.read(requests)
            except HeadraceError as error:
                if not error.retryable:
                    _log.error("scored without features", error=error)
                    return f"features unavailable: {error.args[0]}"
                _log.warning("scoring waits for the online store", reason=error.args[0])
                self._stop.wait(_RETRY_S)
        return None

    def _keyed_partitions(self) -> dict[str, int]:
        topics = {view.entity: keyed_topic(self._project.name, view.entity).name for view in self._project.views}
        counts = partition_counts(self._settings, list(topics.values()))
        return {entity: counts.get(topic, self._settings.kafka.partitions) for entity, topic in topics.items()}


def _event(stream: EventStream, fields: Mapping[str, Any]) -> RequestEvent:
    own = {name: fields[name] for name in stream.schema}
    return RequestEvent(own[stream.id], fields[stream.time], own)


def _commit(client: Any, messages: Sequence[Any]) -> None:
    newest: dict[tuple[str, int], int] = {}
    for message in messages:
        newest[message.topic(), message.partition()] = message.offset() + 1
    offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in newest.items()]
    try:
        client.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:  # a rebalance took the partition: its new owner scores the batch again
        _log.warning("offsets not committed", reason=error.args[0].str())
