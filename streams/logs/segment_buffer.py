"""Rows of a source topic on their way into the offline log."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.offline.log_schema import check_newest
from feature_store.offline_tables import ARRIVAL, LATE, OFFSET, PARTITION
from streams.logs.segment_owner import OwnedFolder
from streams.ownership.tenures import Tenures

__all__ = ["SegmentBuffer", "SourceRows"]

I64 = NDArray[np.int64]
_FEW = 5_000
"""A part of fewer rows is joined with its neighbours before it is split by partition."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceRows:
    """Accepted messages of one batch, by partition and offset."""

    columns: Mapping[str, NDArray[np.generic]]
    nulls: Mapping[str, NDArray[np.bool_]]
    times_us: I64
    """(n,) event time; label topics: arrival."""
    partitions: NDArray[np.int32]
    offsets: I64
    arrivals_us: I64
    late: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.offsets)

    @classmethod
    def joined(cls, parts: Sequence["SourceRows"]) -> "SourceRows":
        """Rows of several batches with the same columns."""
        first = parts[0]
        return cls(
            columns={name: np.concatenate([part.columns[name] for part in parts]) for name in first.columns},
            nulls={name: np.concatenate([part.nulls[name] for part in parts]) for name in first.nulls},
            times_us=np.concatenate([part.times_us for part in parts]),
            partitions=np.concatenate([part.partitions for part in parts]),
            offsets=np.concatenate([part.offsets for part in parts]),
            arrivals_us=np.concatenate([part.arrivals_us for part in parts]),
            late=np.concatenate([part.late for part in parts]),
        )

    def where(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "SourceRows":
        """Some of the rows, by a mask or by their places."""
        return self._cut(rows)

    def of_partition(self, number: int) -> "SourceRows":
        """Rows of one partition, in the same memory."""
        start, stop = np.searchsorted(self.partitions, [number, number + 1]).tolist()
        return self._cut(slice(start, stop))

    def _cut(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> "SourceRows":
        return SourceRows(
            columns={name: column[rows] for name, column in self.columns.items()},
            nulls={name: column[rows] for name, column in self.nulls.items()},
            times_us=self.times_us[rows],
            partitions=self.partitions[rows],
            offsets=self.offsets[rows],
            arrivals_us=self.arrivals_us[rows],
            late=self.late[rows],
        )


class SegmentBuffer:
    """Collects rows and writes them as one segment for each partition.

    Args:
        folder: the log's folder; partitions lie below it.
        schema: columns of a segment, see feature_store.offline_tables.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._parts: list[SourceRows] = []
        self._owned: dict[int, OwnedFolder] = {}
        self.rows = 0

    def restart(self, starts: Mapping[int, int], tenures: Mapping[int, Tenures] | None = None) -> None:
        """Own these partitions from these offsets on: forget and remove what lies at or beyond them, or was late.

        Raises:
            ConfigError: the log's newest files hold columns that cannot be read beside those to be written.
        """
        self.forget(starts)
        for partition, offset in starts.items():
            self._owned[partition] = OwnedFolder(self._partition(partition), offset, (tenures or {}).get(partition))
            self._owned[partition].take_over()
        check_newest(self._folder, self._schema)

    def forget(self, partitions: Collection[int]) -> None:
        """Drop what was collected of partitions that are no longer owned, or are read again."""
        if not self._owned.keys() & set(partitions):
            return
        for number in partitions:
            self._owned.pop(number, None)
        kept = [part.where(~np.isin(part.partitions, list(partitions))) for part in self._parts]
        self._parts = [part for part in kept if len(part)]
        self.rows = sum(map(len, self._parts))

    def add(self, rows: SourceRows) -> None:
        self._parts.append(rows)
        self.rows += len(rows)

    def take(self, ranges: Mapping[int, tuple[int, int]]) -> Callable[[int], None]:
        """Hand over the collected rows; gives what makes those of one partition durable, perhaps in another thread.

        Args:
            ranges: partition -> offsets covered, as (first, after the last).
        """
        parts, self._parts, self.rows = self._parts, [], 0
        owned = {partition: self._owned[partition] for partition in ranges}
        gather = cache(lambda: list(_gathered(parts)))

        def write(partition: int) -> None:
            first, end = ranges[partition]
            mine = [rows for part in gather() if len(rows := part.of_partition(partition))]
            if mine:
                owned[partition].write(self._table(SourceRows.joined(mine)), first, end - 1)

        return write

    def _partition(self, number: int) -> Path:
        return self._folder / f"partition={number}"

    def _table(self, rows: SourceRows) -> pa.Table:
        extra = {ARRIVAL: rows.arrivals_us, PARTITION: rows.partitions, OFFSET: rows.offsets, LATE: rows.late}
        arrays = []
        for field in self._schema:
            values: Any = extra[field.name] if field.name in extra else rows.columns[field.name]
            mask = rows.nulls.get(field.name)
            kind = pa.int64() if pa.types.is_timestamp(field.type) else field.type
            arrays.append(pa.array(values, kind, mask=mask).cast(field.type))
        return pa.table(arrays, schema=self._schema)


def _gathered(parts: list[SourceRows]) -> Iterator[SourceRows]:
    """The same rows in fewer parts: live there are thousands of a few rows each."""
    for are_few, run in groupby(parts, lambda part: len(part) < _FEW):
        if are_few:
            together = SourceRows.joined(list(run))
            yield together.where(np.argsort(together.partitions, kind="stable"))
        else:
            yield from run
