"""Tables of events to Arrow messages: rows of one Kafka partition, in order, as many as share a moment."""

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Bool, Float64, Int64, String
from streams.formats.decode import label_fields

__all__ = ["ArrowWriter"]

_ROWS = 1_000
"""Of one message: its header is then less than a tenth of it, and nobody waits long for the last row."""
_TYPES = {Int64: pa.int64(), Float64: pa.float64(), String: pa.string(), Bool: pa.bool_()}


class ArrowWriter:
    """Writes the events of a stream, or labels.

    Args:
        topic: declares them.
        partitions: of its topic; a key goes where librdkafka sends it.
        span_us: most event time between the first and the last row of a message, which all arrive with the last.
    """

    def __init__(self, topic: EventStream | LabelStream, partitions: int, *, span_us: int) -> None:
        self._span_us = span_us
        self._partitions = partitions
        if isinstance(topic, LabelStream):
            self._key, declared, times = topic.of.id, label_fields(topic)[0], []
        else:
            self._key, declared = topic.key, topic.schema
            times = [(topic.time, pa.timestamp("us", tz="UTC"))]
        self._schema = pa.schema([*((name, _TYPES[type(kind)]) for name, kind in declared.items()), *times])

    def encode(self, rows: pa.Table, times_us: NDArray[np.int64]) -> Iterator[tuple[int, bytes, int]]:
        """(partition, message, time of its last row) of rows in the order of time.

        Args:
            rows: the declared columns, among others.
            times_us: (n,) when each happens.
        """
        keys = rows[self._key].cast(pa.string()).to_pylist()
        chosen = np.fromiter((crc32(key.encode()) % self._partitions for key in keys), dtype=np.int64, count=len(keys))
        rows = rows.select(self._schema.names).cast(self._schema)
        for partition in range(self._partitions):
            places = np.flatnonzero(chosen == partition)
            while len(places):
                end_us = int(times_us[places[0]]) + self._span_us
                count = min(_ROWS, max(1, int(np.searchsorted(times_us[places], end_us, side="right"))))
                part, places = places[:count], places[count:]
                yield partition, self._message(rows.take(pa.array(part))), int(times_us[part[-1]])

    def _message(self, rows: pa.Table) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._schema) as stream:
            stream.write_table(rows.combine_chunks())
        message: bytes = sink.getvalue().to_pybytes()
        return message
