"""Messages of a keyed log: Arrow batches of events or labels, with marks of how far each source partition is.

A message is an Arrow IPC stream of one batch. Its schema's metadata, field ``headrace``, is a JSON header: format,
kind, source topic, number of its partitions, and the marks. A mark says that every message of a source partition up
to an offset that matters here stands in the log by now, what event time the partition has reached, and whether it
is idle. A message without rows carries marks only.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import IntegrityError

__all__ = ["EVENTS", "LABELS", "KeyedBatch", "SourceMark", "decode_batch", "encode_batches"]

FORMAT = 1
EVENTS, LABELS = "events", "labels"
_MESSAGE_BYTES = 600_000
"""Payload of one message; brokers take 1 MB unless told otherwise."""
_HEADER = b"headrace"

I64 = NDArray[np.int64]


class SourceMark(msgspec.Struct, frozen=True, array_like=True):
    """How far one source partition is."""

    partition: int
    offset: int
    """Everything up to this offset stands in the keyed log; -1 for nothing."""
    newest_us: int
    """Newest event time (label topics: newest arrival); lateness.NO_TIME_US when there was none."""
    idle: bool


class _Header(msgspec.Struct, frozen=True):
    format: int
    kind: str
    topic: str
    partitions: int
    marks: tuple[SourceMark, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyedBatch:
    """Rows of one source topic for one partition of a keyed log, by source partition in offset order."""

    kind: str
    """EVENTS or LABELS."""
    topic: str
    partitions: int
    """Number of partitions of the source topic."""
    marks: tuple[SourceMark, ...]
    sources: NDArray[np.int32]
    """(n,) source partition."""
    offsets: I64
    """(n,) source offset."""
    ids: I64
    """(n,) event_id64 of the event, or of the event a label is about."""
    keys: NDArray[np.generic] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Events: (n,) entity keys, int64 or objects (texts)."""
    times_us: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Events: (n,) event times."""
    columns: Mapping[str, I64] = field(default_factory=dict)
    """Events: input -> (n,) exact form. Labels: ``value`` -> (n,)."""

    def __len__(self) -> int:
        return len(self.ids)

    def slice(self, start: int, stop: int, *, last: bool) -> "KeyedBatch":
        """Some of the rows; marks go with the last of them."""
        return KeyedBatch(
            kind=self.kind,
            topic=self.topic,
            partitions=self.partitions,
            marks=self.marks if last else (),
            sources=self.sources[start:stop],
            offsets=self.offsets[start:stop],
            ids=self.ids[start:stop],
            keys=self.keys[start:stop],
            times_us=self.times_us[start:stop],
            columns={name: column[start:stop] for name, column in self.columns.items()},
        )


def encode_batches(batch: KeyedBatch) -> Iterator[bytes]:
    """Messages of a batch: one, or several when it is large."""
    row_bytes = 20 + 8 * len(batch.columns)
    if batch.kind == EVENTS:
        text = batch.keys.dtype == object
        row_bytes += 8 + (max(map(len, batch.keys.tolist()), default=0) * 4 if text else 8)
    step = max(1, _MESSAGE_BYTES // row_bytes)
    for start in range(0, max(len(batch), 1), step):
        stop = start + step
        yield _encode(batch if step >= len(batch) else batch.slice(start, stop, last=stop >= len(batch)))


def decode_batch(message: bytes) -> KeyedBatch:
    """Read a message of a keyed log.

    Raises:
        IntegrityError: it is none.
    """
    try:
        with pa.ipc.open_stream(message) as stream:
            batch = stream.read_next_batch()
        header = msgspec.json.decode(batch.schema.metadata[_HEADER], type=_Header)
        columns: dict[str, Any] = {name: _numpy(batch.column(i)) for i, name in enumerate(batch.schema.names)}
    except (pa.ArrowException, msgspec.MsgspecError, KeyError, TypeError, StopIteration) as error:
        raise IntegrityError(f"a message of a keyed log cannot be read: {error!r}") from error
    if header.format != FORMAT:
        raise IntegrityError(f"a message of a keyed log has format {header.format}; this version reads {FORMAT}")
    nothing = np.empty(0, dtype=np.int64)
    return KeyedBatch(
        kind=header.kind,
        topic=header.topic,
        partitions=header.partitions,
        marks=header.marks,
        sources=columns.pop("_source"),
        offsets=columns.pop("_offset"),
        ids=columns.pop("_id"),
        keys=columns.pop("_key", nothing),
        times_us=columns.pop("_time", nothing),
        columns=columns,
    )


def _encode(batch: KeyedBatch) -> bytes:
    header = _Header(
        format=FORMAT,
        kind=batch.kind,
        topic=batch.topic,
        partitions=batch.partitions,
        marks=batch.marks,
    )
    arrays: dict[str, NDArray[Any]] = {"_source": batch.sources, "_offset": batch.offsets, "_id": batch.ids}
    if batch.kind == EVENTS:
        arrays |= {"_key": batch.keys, "_time": batch.times_us}
    arrays |= batch.columns
    made = [pa.array(values, pa.string() if values.dtype == object else None) for values in arrays.values()]
    schema = pa.schema(
        [pa.field(name, array.type) for name, array in zip(arrays, made, strict=True)],
        metadata={_HEADER: msgspec.json.encode(header)},
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays(made, schema=schema))
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def _numpy(array: pa.Array) -> NDArray[np.generic]:
    values: NDArray[np.generic] = array.to_numpy(zero_copy_only=not pa.types.is_string(array.type))
    return values
