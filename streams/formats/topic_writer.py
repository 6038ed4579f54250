"""Rows of one topic to its messages, in the format it declares, each at its own instant."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.config import Settings
from headrace.kafka_sender import Sender
from headrace.spec.formats import ArrowBatches, Avro
from headrace.spec.streams import EventStream, LabelStream
from streams.formats.arrow_writer import ArrowWriter
from streams.formats.avro_writer import AvroWriter, declared_schema
from streams.schemas.schema_registry_choice import open_registry

__all__ = ["TopicWriter"]

_US_PER_MS = 1_000


class TopicWriter:
    """Writes events or labels as a producer of their topic would.

    Args:
        settings: where the schema registry is.
        topic: declares them.
        partitions: of the topic.
        sender: takes the messages.
        batch_span_us: most event time of one Arrow message.

    Raises:
        RejectedError: the schema registry does not take the topic's schema.
        UnavailableError: it does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        topic: EventStream | LabelStream,
        partitions: int,
        sender: Sender,
        *,
        batch_span_us: int,
    ) -> None:
        self._topic, self._sender = topic.name, sender
        self._avro: AvroWriter | None = None
        self._arrow: ArrowWriter | None = None
        if isinstance(topic, LabelStream):
            self._key, self._names = topic.of.id, [topic.of.id, topic.value]
        else:
            self._key, self._names = topic.key, [*topic.published, topic.time]
        if isinstance(topic.format, Avro):
            subject = topic.format.subject or f"{topic.name}-value"
            self._avro = AvroWriter(topic, open_registry(settings).register(subject, declared_schema(topic)))
        elif isinstance(topic.format, ArrowBatches):
            self._arrow = ArrowWriter(topic, partitions, span_us=batch_span_us)

    def send(self, rows: pa.Table, times_us: NDArray[np.int64]) -> None:
        """Send rows in the order of time; ``times_us`` (n,) says when each happens, which is when it arrives."""
        if self._arrow is not None:
            for partition, message, time_us in self._arrow.encode(rows, times_us):
                self._sender.send(self._topic, message, partition=partition, timestamp_ms=time_us // _US_PER_MS)
            self._sender.poll()
            return
        self._sender.send_many(
            self._topic,
            _json_objects(rows.select(self._names)) if self._avro is None else self._avro.encode(rows),
            keys=_texts(rows[self._key]),
            timestamps_ms=(times_us // _US_PER_MS).tolist(),
        )


def _json_objects(rows: pa.Table) -> list[bytes | None]:
    """One JSON object a row, built a column at a time."""
    parts: list[pa.ChunkedArray | pa.Scalar] = []
    for number, name in enumerate(rows.column_names):
        parts.append(pa.scalar(f'{"," if number else "{"}"{name}":'))
        parts.append(_json_values(rows[name]))
    joined = pc.binary_join_element_wise(*parts, pa.scalar("}"), pa.scalar(""))
    values: list[bytes | None] = joined.cast(pa.binary()).to_pylist()
    return values


def _json_values(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_timestamp(kind):
        micros = column.cast(pa.timestamp("us", tz="UTC"))
        whole = (
            pc.all(pc.equal(pc.microsecond(micros), 0)).as_py() and pc.all(pc.equal(pc.millisecond(micros), 0)).as_py()
        )
        texts = pc.strftime(
            micros.cast(pa.timestamp("s", tz="UTC"), safe=False) if whole else micros, "%Y-%m-%dT%H:%M:%SZ"
        )
        return pc.binary_join_element_wise(pa.scalar('"'), texts, pa.scalar('"'), pa.scalar(""))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        quoted = [None if text is None else msgspec.json.encode(text).decode() for text in column.to_pylist()]
        return pc.fill_null(pa.chunked_array([pa.array(quoted, pa.string())]), "null")
    return pc.fill_null(column.cast(pa.string()), "null")


def _texts(column: pa.ChunkedArray) -> Sequence[str]:
    texts: list[str] = column.cast(pa.string()).to_pylist()
    return texts
