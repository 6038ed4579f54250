"""Makes the source tasks of a project: what each topic is decoded with, and where its rows go."""

import threading
from typing import Any

from feature_store.ids import MOST_PLACES
from feature_store.offline.offline_log import log_folder
from feature_store.offline_tables import event_schema, label_schema
from feature_store.upkeep.erased import ErasedSubjects, register_path
from headrace.config import Settings
from headrace.contracts.topics import keyed_topic
from headrace.errors import ConfigError
from headrace.kafka_clients import partition_counts
from headrace.kafka_sender import Sender
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream
from streams.formats.decoders import stream_decoder
from streams.logs.dead_letters import DeadLetters
from streams.logs.erased_rows import ErasedMessages
from streams.logs.segment_buffer import SegmentBuffer
from streams.schemas.schema_registry import SchemaRegistry
from streams.schemas.schema_registry_choice import PatientRegistry, open_registry
from streams.sources.routes import event_routes, label_routes
from streams.sources.source_task import SourceTask

__all__ = ["SourceTasks"]

_NEVER_LATE_US = 2**61


class SourceTasks:
    """One task for each stream and label stream of a project; none has a partition yet.

    Args:
        settings: where everything is.
        project: whose streams.
        stop: set when nobody wants to wait for a server any longer.
        sender: producer to keyed logs.
        letters: producer to dead letters.
    """

    def __init__(
        self, settings: Settings, project: Project, stop: threading.Event, sender: Sender, letters: Sender
    ) -> None:
        self._settings, self._project, self._stop = settings, project, stop
        self._sender, self._dead_letters = sender, DeadLetters(letters)
        self._erased = ErasedSubjects(register_path(settings, project.name))
        self.every = [self._event_task(stream) for stream in project.streams]
        self.every += [self._label_task(labels) for labels in project.labels]
        self.by_topic = {task.topic: task for task in self.every}

    def _event_task(self, stream: EventStream) -> SourceTask:
        count = partition_counts(self._settings, [stream.name])[stream.name]
        if not stream.has_id and count > MOST_PLACES:
            raise ConfigError(
                f"topic {stream.name!r} has {count} partitions; without an id its stream may have {MOST_PLACES}",
                hint="name an id that producers write, or make a topic with fewer partitions",
            )
        decoder = stream_decoder(stream, self._registry, self._settings.stream)
        return self._task(stream, count, decoder, event_schema(stream), event_routes(self._project, stream, count))

    def _label_task(self, labels: LabelStream) -> SourceTask:
        count = partition_counts(self._settings, [labels.name])[labels.name]
        routes = label_routes(self._project, labels, count)
        decoder = stream_decoder(labels, self._registry, self._settings.stream)
        return self._task(labels, count, decoder, label_schema(labels), routes)

    def _registry(self) -> SchemaRegistry:
        return PatientRegistry(open_registry(self._settings), self._stop)

    def _task(
        self, source: EventStream | LabelStream, count: int, decoder: Any, schema: Any, routes: Any
    ) -> SourceTask:
        settings, project, topic = self._settings, self._project, source.name
        stream = source if isinstance(source, EventStream) else None
        keyed = [keyed_topic(project.name, route.entity).name for route in routes]
        counts = partition_counts(settings, keyed)
        folder = log_folder(settings.offline_dir, project.name, "events" if stream else "labels", topic)
        return SourceTask(
            topic=topic,
            partitions=count,
            decoder=decoder,
            time=stream.time if stream else None,
            place_id=stream.id if stream and not stream.has_id else None,
            lateness_us=stream.lateness_us if stream else _NEVER_LATE_US,
            future_us=stream.future_us if stream else 3_600_000_000,
            routes=[(route, name, counts[name]) for route, name in zip(routes, keyed, strict=True)],
            buffer=SegmentBuffer(folder, schema),
            sender=self._sender,
            dead_letters=self._dead_letters,
            erased=ErasedMessages(self._erased, source),
        )
