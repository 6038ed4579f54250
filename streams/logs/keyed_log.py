"""Messages of a keyed log: batches of events or labels, with marks of how far each source partition is.

A mark says that every message of a source partition up to an offset that matters here stands in the log by now, what
event time the partition has reached, and whether it is idle. A message without rows carries marks only. Layout:

    0   4 bytes    b"hrk" and the format, 2
    4   uint32     bytes of the header, little-endian, a multiple of 8
    8   header     JSON, blanks behind: kind, source topic, number of its partitions, marks, rows, columns
    …   columns    in the header's order, see streams.logs.packed_columns

It takes fewer bytes than Arrow IPC with lz4 behind it (19 against 23 a row of the benchmark), and no compression.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import IntegrityError
from streams.logs.packed_columns import PackedColumn, pack, unpack

__all__ = ["EVENTS", "LABELS", "NO_TIME_US", "VALUE", "KeyedBatch", "SourceMark", "decode_batch", "encode_batches"]

FORMAT = 2
EVENTS, LABELS = "events", "labels"
VALUE = "value"
"""Column of the outcome in batches of labels."""
NO_TIME_US = -(2**62)
"""Newest event time of a partition that had none; far from the edge, so the lateness can be subtracted."""
_MESSAGE_BYTES = 600_000
"""Payload of one message; brokers take 1 MB unless told otherwise."""
_MAGIC = b"hrk"
_START = struct.Struct("<3sBI")

I64 = NDArray[np.int64]


class SourceMark(msgspec.Struct, frozen=True, array_like=True):
    """How far one source partition is."""

    partition: int
    offset: int
    """Everything up to this offset stands in the keyed log; -1 for nothing."""
    newest_us: int
    """Newest event time (label topics: newest arrival); NO_TIME_US when there was none."""
    idle: bool
    epoch: int = 0
    """Of the sender's ownership of the partition, see streams.ownership.claims; 0 of senders that knew of none."""


class _Header(msgspec.Struct, frozen=True, omit_defaults=True):
    kind: str
    topic: str
    partitions: int
    marks: tuple[SourceMark, ...]
    rows: int
    columns: tuple[PackedColumn, ...]
    epochs: tuple[tuple[int, int], ...] = ()
    """(partition, epoch) of a message without marks."""


_HEADER = msgspec.json.Decoder(_Header)
_OWN = {
    LABELS: frozenset({"_source", "_offset", "_id"}),
    EVENTS: frozenset({"_source", "_offset", "_id", "_key", "_time"}),
}


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
    epochs: tuple[tuple[int, int], ...] = ()
    """(source partition, epoch) where no marks say it; see :meth:`source_epochs`."""

    def source_epochs(self) -> tuple[tuple[int, int], ...]:
        """(source partition, epoch of its sender) for every partition that has rows or marks here."""
        return self.epochs or tuple((mark.partition, mark.epoch) for mark in self.marks)

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
            epochs=() if last else self.source_epochs(),
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
        magic, version, size = _START.unpack_from(message)
        if magic == _MAGIC and version != FORMAT:
            raise IntegrityError(f"a message of a keyed log has format {version}; this version reads {FORMAT}")
        body = memoryview(message)[_START.size :]
        header = _HEADER.decode(body[:size])
        columns = unpack(header.columns, header.rows, body[size:])
        if magic != _MAGIC or not columns.keys() >= _OWN[header.kind]:
            raise ValueError("it is no message of a keyed log")
    except (struct.error, msgspec.MsgspecError, ValueError, KeyError, OverflowError) as error:
        raise IntegrityError(f"a message of a keyed log cannot be read: {error!r}") from error
    nothing = np.empty(0, dtype=np.int64)
    return KeyedBatch(
        kind=header.kind,
        topic=header.topic,
        partitions=header.partitions,
        marks=header.marks,
        sources=columns.pop("_source").astype(np.int32),
        offsets=columns.pop("_offset"),
        ids=columns.pop("_id"),
        keys=columns.pop("_key", nothing),
        times_us=columns.pop("_time", nothing),
        columns=columns,
        epochs=header.epochs,
    )


def _encode(batch: KeyedBatch) -> bytes:
    arrays: dict[str, NDArray[Any]] = {"_source": batch.sources, "_offset": batch.offsets, "_id": batch.ids}
    if batch.kind == EVENTS:
        arrays |= {"_key": batch.keys, "_time": batch.times_us}
    columns, packed = pack(arrays | dict(batch.columns))
    header = msgspec.json.encode(
        _Header(
            kind=batch.kind,
            topic=batch.topic,
            partitions=batch.partitions,
            marks=batch.marks,
            rows=len(batch),
            columns=columns,
            epochs=batch.epochs,
        )
    )
    header += b" " * (-len(header) % 8)
    start = _START.pack(_MAGIC, FORMAT, len(header))
    return b"".join([start, header, packed])
