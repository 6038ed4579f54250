"""Publishes a file of events and labels as producers would have: in time order, each at its own instant.

Events and labels are written in the format they declare; in Arrow those of one partition and moment share a message.
An event arrives at its event time (in Arrow: with the last of its message), its label ``delay`` later; both instants
become Kafka's message time, so arrival times of a replay mean what they meant then. After each stretch every partition
gets a tick (an empty message whose header says how far event time has come), as an idle source would send as a
heartbeat.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.config import Settings
from headrace.contracts.streams import FLUSH_HEADER, WATERMARK_HEADER
from headrace.errors import ConfigError
from headrace.kafka_clients import ensure_topics, partition_counts
from headrace.kafka_sender import Sender
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream
from streams.formats.topic_writer import TopicWriter

__all__ = ["Publisher"]

_US_PER_MS = 1_000
_CHUNK = 20_000
_BATCH_SPAN_US = 60_000_000


class Publisher:
    """Plays one table of events and labels into Kafka, stretch by stretch.

    Args:
        settings: where the broker is.
        project: whose topics these are.
        stream: what the events are.
        events: the stream's columns, time as timestamp[us, UTC]; with the label's column when labels are published.
        labels: what the labels are; None publishes events only.
        batch_span_us: most event time of one Arrow message.

    Raises:
        ConfigError: a column is missing.
        RejectedError: the schema registry does not take a schema.
        UnavailableError: Kafka or the schema registry does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        stream: EventStream,
        events: pa.Table,
        labels: LabelStream | None,
        *,
        batch_span_us: int = _BATCH_SPAN_US,
    ) -> None:
        wanted = [*stream.published, stream.time, *([labels.value] if labels else [])]
        missing = [name for name in wanted if name not in events.column_names]
        if missing:
            raise ConfigError(f"the events have no column {missing[0]!r}", hint=f"they need {', '.join(wanted)}")
        if not events.num_rows:
            raise ConfigError("there are no events to publish", hint="give a file with rows")
        self._settings, self._stream, self._labels = settings, stream, labels
        by_id = [(stream.id, "ascending")] if stream.has_id else []  # without one, ties stay in the order of the file
        self._table = events.sort_by([(stream.time, "ascending"), *by_id])
        self._times_us: NDArray[np.int64] = np.asarray(self._table[stream.time].cast(pa.int64()).to_numpy())
        self._topics = [stream.name, *([labels.name] if labels else [])]
        ensure_topics(settings, self._topics)
        self._partitions = partition_counts(settings, self._topics)
        self._sender = Sender(settings, linger_ms=5)
        self._event_writer = self._writer(stream, batch_span_us)
        self._label_writer = self._writer(labels, batch_span_us) if labels else None
        self._event_at = self._label_at = 0
        self._delay_us = labels.delay_us if labels else 0
        self._labels_sent = 0
        self._project = project

    @property
    def span_us(self) -> tuple[int, int]:
        """Times of the first and the last event."""
        return int(self._times_us[0]), int(self._times_us[-1])

    @property
    def end_us(self) -> int:
        """First instant by which every event has happened and every label is due."""
        return int(self._times_us[-1]) + self._delay_us + 1

    @property
    def remaining(self) -> int:
        """Events not yet published."""
        return self._times_us.size - self._event_at

    @property
    def labels_sent(self) -> int:
        """Labels published; an event without an outcome has none."""
        return self._labels_sent

    def publish_until(self, until_us: int, *, flush: bool = True) -> int:
        """Publish everything that happens before an instant, then tell every partition that time has come so far.

        An event happens at its time, its label ``delay`` later; each is sent once, by the first call that passes it.

        Args:
            until_us: first instant left out.
            flush: also ask the stream to make its offline log durable up to here.

        Returns:
            Events published by this call.

        Raises:
            UnavailableError: Kafka did not take all of it.
        """
        before = self._event_at
        # Stretches are sent side by side: a label never lies far from the events of its instant. What a place passes
        # is sent in the same step, whatever the edges are; the last edge is the instant itself.
        for edge in self._edges(until_us):
            labels_end = max(self._label_at, self._labels_due(edge))
            if labels_end > self._label_at:
                # There before the events of their instants: a view that has come so far has them.
                self._send_labels(self._label_at, labels_end)
                self._sender.flush()
                self._label_at = labels_end
            events_end = max(self._event_at, self._events_due(edge))
            self._send_events(self._event_at, events_end)
            self._event_at = events_end
        self._tick(until_us, flush=flush)
        self._sender.flush()
        return self._event_at - before

    def _edges(self, until_us: int) -> list[int]:
        """Ends of the stretches up to an instant, which is the last of them."""
        events = self._times_us[self._event_at : self._events_due(until_us) : _CHUNK]
        due = self._times_us[self._label_at : self._labels_due(until_us) : _CHUNK] + self._delay_us
        edges: list[int] = np.unique(np.concatenate([events, due])).tolist()
        return [*edges, until_us]

    def _events_due(self, until_us: int) -> int:
        return int(np.searchsorted(self._times_us, until_us))

    def _labels_due(self, until_us: int) -> int:
        return self._events_due(until_us - self._delay_us) if self._labels else 0

    def _writer(self, topic: EventStream | LabelStream, batch_span_us: int) -> TopicWriter:
        partitions = self._partitions[topic.name]
        return TopicWriter(self._settings, topic, partitions, self._sender, batch_span_us=batch_span_us)

    def _send_events(self, start: int, end: int) -> None:
        if end > start:
            self._event_writer.send(self._table.slice(start, end - start), self._times_us[start:end])

    def _send_labels(self, start: int, end: int) -> None:
        labels, writer = self._labels, self._label_writer
        if labels is not None and writer is not None and end > start:
            rows = self._table.slice(start, end - start)
            known = np.asarray(rows[labels.value].is_valid().to_numpy())
            if not known.any():
                return
            writer.send(rows.filter(pa.array(known)), self._times_us[start:end][known] + labels.delay_us)
            self._labels_sent += int(known.sum())

    def _tick(self, until_us: int, *, flush: bool) -> None:
        headers = {WATERMARK_HEADER: str(until_us), **({FLUSH_HEADER: "1"} if flush else {})}
        for topic in self._topics:
            for partition in range(self._partitions[topic]):
                self._sender.send(
                    topic, None, partition=partition, headers=headers, timestamp_ms=until_us // _US_PER_MS
                )
