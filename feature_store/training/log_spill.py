"""An event log that is larger than memory: every event once, with its label, a range of rows at a time.

As :func:`feature_store.offline.event_log.read_events`: of several events with one id the first to arrive, of labels
the last. Which those are is found by id, in buckets on the disk, before the log is read again and again.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.definitions.backfill_cost import rows_of
from feature_store.earlier_labels import EARLIER_TYPE
from feature_store.ids import event_ids64
from feature_store.offline.log_bounds import LogBounds
from feature_store.offline.log_schema import conform
from feature_store.offline.offline_log import LogKind, log_folder, segments_below
from feature_store.offline.repeated_ids import arrival_order, first_per_id, last_labels, on_time
from feature_store.offline_tables import (
    ARRIVAL,
    EARLIER_LABELS,
    LABEL_ARRIVAL,
    OFFSET,
    PARTITION,
    TIMESTAMP,
    event_schema,
    label_schema,
)
from feature_store.partitioning import key_partitions
from feature_store.tracking import Track, untracked
from feature_store.training.spill import Spill
from headrace.errors import IntegrityError, UnavailableError
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream

__all__ = ["SpilledLog"]

_KEPT, _LABEL, _ROW, _ID, _ORDER = "kept", "label", "row", "id", "order"
_OF_LABELS = {_LABEL: pa.int64(), LABEL_ARRIVAL: TIMESTAMP, EARLIER_LABELS: EARLIER_TYPE}


class SpilledLog:
    """One stream's log, and that of its labels.

    Args:
        offline_dir: ``Settings.offline_dir``.
        project: whose log.
        stream: which stream.
        bounds: how far to read.
        with_late: keep events that came too late for the stream.
        range_rows: rows of a range, and about of a bucket.
        folder: where to spill.
    """

    def __init__(
        self,
        offline_dir: Path,
        project: Project,
        stream: EventStream,
        *,
        bounds: LogBounds,
        with_late: bool,
        range_rows: int,
        folder: Path,
    ) -> None:
        self._offline_dir, self._project = offline_dir, project
        self._stream, self._labels = stream, project.labels_of(stream)
        self._bounds, self._with_late, self._range_rows = bounds, with_late, range_rows
        self._folder = folder
        self._facts = Spill(folder / "facts")
        self.rows = 0
        """Rows of the log, those with an id that came before included."""

    @property
    def time(self) -> str:
        """Column of the event time."""
        return self._stream.time

    def prepare(self, track: Track = untracked) -> None:
        """Find which events are kept, and their labels."""
        logged: list[tuple[LogKind, str]] = [("events", self._stream.name)]
        if self._labels is not None:
            logged.append(("labels", self._labels.name))
        total = sum(self._size(kind, topic) for kind, topic in logged)
        buckets = 1 + total // self._range_rows
        work = f"rows of the log of {self._stream.name} looked through"
        track(work, 0, total)
        events, labels = Spill(self._folder / "ids"), Spill(self._folder / "labels")
        reached: dict[int, int] = {}
        for start, table in self._ranges("events", self._stream.name, event_schema(self._stream)):
            self.rows = start + table.num_rows
            self._spill_ids(events, table, np.arange(start, self.rows), reached, buckets, [])
            track(work, self.rows, total)
        if self._labels is not None:
            reached = {}
            for start, table in self._ranges("labels", self._labels.name, label_schema(self._labels)):
                rows = np.arange(start, start + table.num_rows)
                self._spill_ids(labels, table, rows, reached, buckets, [self._labels.value])
                track(work, self.rows + start + table.num_rows, total)
        for bucket in range(buckets):
            held = events.read(bucket)
            if held is None:
                continue
            self._add_facts(held, labels.read(bucket))
            events.remove(bucket)
            labels.remove(bucket)

    def ranges(self) -> Iterator[pa.Table]:
        """Events that are kept, with the columns of their labels where there are labels.

        Raises:
            UnavailableError: files of the log were erased or removed meanwhile.
        """
        seen = 0
        for start, table in self._ranges("events", self._stream.name, event_schema(self._stream)):
            seen = start + table.num_rows
            held = self._facts.read(start // self._range_rows)
            if held is None or held.num_rows != table.num_rows:
                raise self._changed()
            held = held.take(pa.array(np.argsort(held[_ROW].to_numpy(), kind="stable")))
            if self._labels is not None:
                table = _labelled(table, self._labels, held)
            yield table.filter(held[_KEPT])
        if seen != self.rows:
            raise self._changed()
        if not seen:
            yield self._no_events()

    def _no_events(self) -> pa.Table:
        table = event_schema(self._stream).empty_table()
        if self._labels is not None:
            table = _labelled(table, self._labels, {name: pa.nulls(0, kind) for name, kind in _OF_LABELS.items()})
        return table

    def _changed(self) -> UnavailableError:
        return UnavailableError(
            f"the log of {self._stream.name!r} changed while it was read", hint="run the command again"
        )

    def _add_facts(self, held: pa.Table, labels: pa.Table | None) -> None:
        kept = first_per_id(held, _ID, held[_ORDER].to_numpy())
        facts: dict[str, Any] = {
            _ROW: held[_ROW],
            _KEPT: pa.array(np.isin(held[_ROW].to_numpy(), kept[_ROW].to_numpy())),
        }
        if self._labels is not None and labels is not None:
            value = self._labels.value
            facts |= _labels_of(held, last_labels(labels, _ID, value, labels[_ORDER].to_numpy()), value)
        elif self._labels is not None:
            facts |= {name: pa.nulls(held.num_rows, kind) for name, kind in _OF_LABELS.items()}
        self._facts.add(pa.table(facts), held[_ROW].to_numpy() // self._range_rows)

    def _spill_ids(
        self,
        spill: Spill,
        table: pa.Table,
        rows: NDArray[np.int64],
        reached: dict[int, int],
        buckets: int,
        more: list[str],
    ) -> None:
        name = self._stream.id
        column = table[name].combine_chunks()
        ids = event_ids64(column.to_numpy(zero_copy_only=False))
        kept = {other: table[other] for other in (ARRIVAL, PARTITION, OFFSET, *more)}
        order = arrival_order(table, reached)
        spill.add(pa.table({_ROW: rows, _ID: ids, _ORDER: order, **kept}), key_partitions(ids, buckets))

    def _size(self, kind: LogKind, topic: str) -> int:
        """Rows of a log; what is merged meanwhile is missing, and this only chooses how many buckets there are."""
        folder = log_folder(self._offline_dir, self._project.name, kind, topic)
        return sum(rows_of(segment.path) for segment in segments_below(folder))

    def _ranges(self, kind: LogKind, topic: str, schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
        """(first row, rows) by partition and offset, of equal size; nothing of an empty log."""
        waiting, rows, start = [schema.empty_table()], 0, 0
        for piece in self._pieces(kind, topic, schema):
            waiting.append(piece)
            rows += piece.num_rows
            while rows >= self._range_rows:
                held = pa.concat_tables(waiting)
                yield start, held.slice(0, self._range_rows).combine_chunks()
                waiting, start = [held.slice(self._range_rows)], start + self._range_rows
                rows -= self._range_rows
        if rows:
            yield start, pa.concat_tables(waiting).combine_chunks()

    def _pieces(self, kind: LogKind, topic: str, schema: pa.Schema) -> Iterator[pa.Table]:
        for segment in segments_below(log_folder(self._offline_dir, self._project.name, kind, topic)):
            try:
                with pq.ParquetFile(segment.path) as file:
                    for batch in file.iter_batches(self._range_rows):
                        table = conform(pa.Table.from_batches([batch]), schema, segment.path)
                        table = self._bounds.keep(table, kind, topic)
                        yield table if kind == "labels" or self._with_late else on_time(table)
            except FileNotFoundError as error:
                raise UnavailableError(
                    f"{segment.path} was merged while the log was read", hint="run the command again"
                ) from error
            except (pa.ArrowException, OSError) as error:
                raise IntegrityError(
                    f"segment {segment.path} cannot be read: {error}", hint="restore it from a copy"
                ) from error


def _labelled(table: pa.Table, labels: LabelStream, columns: Mapping[str, Any] | pa.Table) -> pa.Table:
    for name, column in zip((labels.value, LABEL_ARRIVAL, EARLIER_LABELS), _OF_LABELS, strict=True):
        table = table.append_column(name, columns[column])
    return table


def _labels_of(held: pa.Table, known: pa.Table, value: str) -> dict[str, pa.ChunkedArray]:
    """The label of each event, when it arrived, and what it corrected."""
    ids, labelled = held[_ID].to_numpy(), known[_ID].to_numpy()
    order = np.argsort(labelled)
    place = np.minimum(np.searchsorted(labelled[order], ids), len(order) - 1)
    found = labelled[order][place] == ids
    rows = pa.array(order[place], mask=~found)
    columns = (known[value], known[ARRIVAL], known[EARLIER_LABELS])
    return {name: column.take(rows) for name, column in zip(_OF_LABELS, columns, strict=True)}
