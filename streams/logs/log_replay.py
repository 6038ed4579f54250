"""The offline log as a stream once more: rows of every source partition in the order of their arrival.

lane tx:0   ■■■■■■■■│□□□      segments are read a piece at a time, so that memory holds one piece of each lane
lane tx:1   ■■■■■■■■│□□
lane fr:0   ■■■■■■■■■■│       nobody passes the lane that was read least far
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.offline.log_schema import conform
from feature_store.offline.offline_log import segments
from feature_store.offline_tables import ARRIVAL, LATE, OFFSET, PARTITION
from headrace.errors import IntegrityError
from streams.logs.segment_buffer import SourceRows

__all__ = ["LogReplay", "LoggedTopic", "Stretch"]

I64 = NDArray[np.int64]
Place = tuple[str, int]
"""(topic, partition)."""
_PIECE_ROWS = 65_536
_BEFORE_ALL_US = -(2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedTopic:
    """One topic of the offline log."""

    name: str
    folder: Path
    """Above its partitions."""
    schema: pa.Schema
    time: str
    """Column of the event time; of labels the arrival."""
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """What arrived in one stretch of time."""

    rows: Mapping[str, SourceRows]
    """Topic -> rows by partition and offset; late ones are marked."""
    covered: Mapping[Place, int]
    """Offset up to which nothing of a partition is missing."""
    idle: Mapping[Place, bool]
    """Whether a partition was silent about then for so long that nobody waited for it."""


class LogReplay:
    """Reads a log from given offsets to its present end, once.

    Args:
        topics: what to read.
        starts: first offset of each partition; 0 where absent.
        rows: about how many make a stretch.
        silence_us: arrival time after which a partition without messages is idle.
    """

    def __init__(
        self, topics: Sequence[LoggedTopic], starts: Mapping[Place, int], *, rows: int, silence_us: int
    ) -> None:
        self._rows, self._silence_us = rows, silence_us
        self._lanes = {
            (topic.name, number): _Lane(topic, number, starts.get((topic.name, number), 0))
            for topic in topics
            for number in range(topic.partitions)
        }

    def __iter__(self) -> Iterator[Stretch]:
        until_us = _BEFORE_ALL_US
        while waiting := self._waiting():
            until_us = min(lane.newest_us for lane in waiting)
            first = np.sort(np.concatenate([lane.highs_us[: self._rows] for lane in waiting]))[: self._rows]
            until_us = min(until_us, int(first[-1]))
            taken: dict[str, list[SourceRows]] = {}
            for (topic, _), lane in self._lanes.items():
                if part := lane.release(until_us):
                    taken.setdefault(topic, []).append(part)
            self._waiting()
            yield self._stretch({topic: SourceRows.joined(parts) for topic, parts in taken.items()}, until_us)
        if until_us == _BEFORE_ALL_US:
            yield self._stretch({}, until_us)  # so that every partition is heard of

    def _waiting(self) -> list["_Lane"]:
        for lane in self._lanes.values():
            lane.fill()
        return [lane for lane in self._lanes.values() if len(lane)]

    def _stretch(self, rows: Mapping[str, SourceRows], until_us: int) -> Stretch:
        return Stretch(
            rows=rows,
            covered={place: lane.covered for place, lane in self._lanes.items()},
            idle={place: lane.is_silent(until_us, self._silence_us) for place, lane in self._lanes.items()},
        )


class _Lane:
    """One partition of a topic."""

    def __init__(self, topic: LoggedTopic, number: int, start: int) -> None:
        self._topic, self._number, self._next = topic, number, start
        self._pieces = self._read()
        self._piece: SourceRows | None = None
        self.highs_us: I64 = np.empty(0, dtype=np.int64)
        """Newest arrival up to each row that waits."""
        self.newest_us = _BEFORE_ALL_US
        self.released_us = _BEFORE_ALL_US
        self._end = start - 1
        """Newest offset of the files that have been read whole."""

    def __len__(self) -> int:
        return len(self.highs_us)

    @property
    def covered(self) -> int:
        """Offset up to which everything was given."""
        if self._piece is None or not len(self):
            return self._end
        return int(self._piece.offsets[0]) - 1

    def is_silent(self, until_us: int, silence_us: int) -> bool:
        """Whether nothing came, or comes, for longer than that about an arrival."""
        if not len(self):
            return self.released_us == _BEFORE_ALL_US or until_us - silence_us > self.released_us
        return (
            int(self.highs_us[0]) - (self.released_us if self.released_us > _BEFORE_ALL_US else until_us) > silence_us
        )

    def fill(self) -> None:
        """Have rows waiting, unless the log has ended."""
        while not len(self):
            found = next(self._pieces, None)
            if found is None:
                return
            piece, self._end = found
            if len(piece):
                self._piece = piece
                # A producer's clock may go back; the order of a partition is kept all the same.
                self.highs_us = np.maximum.accumulate(np.maximum(piece.arrivals_us, self.newest_us))
                self.newest_us = int(self.highs_us[-1])

    def release(self, limit_us: int) -> SourceRows | None:
        """Rows up to an arrival; whole messages, because their rows arrived at once."""
        count = int(np.searchsorted(self.highs_us, limit_us, side="right"))
        if not count or self._piece is None:
            return None
        mask = np.arange(len(self._piece)) < count
        part = self._piece.where(mask)
        self.released_us = int(self.highs_us[count - 1])
        self._piece, self.highs_us = self._piece.where(~mask), self.highs_us[count:]
        return part

    def _read(self) -> Iterator[tuple[SourceRows, int]]:
        """Pieces, and the offset each of them reaches to for certain."""
        folder = self._topic.folder / f"partition={self._number}"
        while True:
            segment = next((segment for segment in segments(folder) if segment.last >= self._next), None)
            if segment is None:
                return
            try:
                file = pq.ParquetFile(segment.path)
            except FileNotFoundError:
                continue  # merged into another one meanwhile; the next listing has that
            except (pa.ArrowException, OSError) as error:
                raise IntegrityError(
                    f"segment {segment.path} cannot be read: {error}", hint="restore it from a copy"
                ) from error
            start, reached = self._next, self._next - 1
            with file:
                for batch in file.iter_batches(_PIECE_ROWS):
                    table = conform(pa.Table.from_batches([batch]), self._topic.schema, segment.path)
                    offsets = table[OFFSET].to_numpy()
                    # More rows of its newest offset may stand in the next piece.
                    reached = max(reached, int(offsets[-1]) - 1)
                    yield _source_rows(self._topic, table.slice(int(np.searchsorted(offsets, start)))), reached
            self._next = segment.last + 1
            yield _source_rows(self._topic, self._topic.schema.empty_table()), segment.last


def _source_rows(topic: LoggedTopic, table: pa.Table) -> SourceRows:
    """Rows of a log as its source task had them."""
    table = table.combine_chunks()
    own = {ARRIVAL, PARTITION, OFFSET, LATE}
    late = table[LATE].combine_chunks() if LATE in table.column_names else pa.array(np.zeros(len(table), np.bool_))
    nulls = {field.name: table[field.name].is_null().to_numpy() for field in topic.schema if field.nullable}
    return SourceRows(
        columns={name: _values(table[name]) for name in topic.schema.names if name not in own},
        nulls=nulls,
        times_us=_micros(table[topic.time]),
        partitions=table[PARTITION].to_numpy().astype(np.int32),
        offsets=table[OFFSET].to_numpy(),
        arrivals_us=_micros(table[ARRIVAL]),
        late=np.asarray(late.to_numpy(zero_copy_only=False), dtype=np.bool_),
    )


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    if pa.types.is_string(column.type):
        texts = np.empty(len(column), dtype=object)
        texts[:] = column.to_pylist()
        return texts
    if pa.types.is_timestamp(column.type):
        return _micros(column)
    if pa.types.is_floating(column.type):
        numbers: NDArray[Any] = column.to_numpy()
        return numbers
    whole: NDArray[Any] = column.cast(pa.int64()).fill_null(0).to_numpy()
    return whole


def _micros(column: pa.ChunkedArray) -> I64:
    instants: I64 = column.cast(pa.int64()).to_numpy()
    return instants
