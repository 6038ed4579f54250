"""Features of a file that is larger than memory: the same kernels, an entity's events at a time, the same values.

    ids       events and labels by id        ─► which event of an id is the first, and its label     by range of rows
    view      events by entity, in buckets   ─► values of each bucket                                by range of rows
    out       events, range by range, with the values of every view                                  in the file's order

A range, or a bucket, is about as much as the memory allowed holds; an entity with more events than that still has to
fit.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store import query_kernels
from feature_store.compute import compute_file, file_events, no_label_found
from feature_store.ids import event_ids64
from feature_store.kernel_cache import plain
from feature_store.partitioning import key_partitions
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.table_columns import find_column, has_column, read_field, read_labels, with_ids
from feature_store.tracking import Track, untracked
from feature_store.training.bucket_answers import Bucket, Run, answer_bucket, bucket_table, run_here, values_of
from feature_store.training.spill import Spill
from headrace.errors import ConfigError, HeadraceError
from headrace.spec.project import Project
from headrace.spec.streams import EventStream

__all__ = ["compute_file_spilled"]

Progress = Callable[[str, int, float], None]
_FIXED_BYTES = 400
"""Of a row, whatever the views: the columns of the file twice, ids, order."""
_CELL_BYTES = 64
"""Of an input or a cell: in the bucket, gathered, by time, answered, and once more while it is moved."""
_FEWEST_ROWS = 1_000


def compute_file_spilled(
    project: Project,
    stream: EventStream,
    events: Path,
    labels: Path | None,
    out: Path,
    *,
    memory_bytes: int,
    folder: Path | None = None,
    run: Run = run_here,
    progress: Progress | None = None,
    track: Track = untracked,
    remark: Callable[[str], None] | None = None,
) -> tuple[int, int]:
    """As :func:`feature_store.compute.compute_file`, from file to file.

    Args:
        project: views and request features of ``stream``.
        stream: what the rows of ``events`` are.
        events: Parquet file of events.
        labels: Parquet file of ids and outcomes.
        out: Parquet file to write; appears when it is complete.
        memory_bytes: about how much may be held at once, beside the process itself.
        folder: where to spill about the size of the events for each view; the system's own for such when absent.
        run: where buckets are answered.
        progress: called with (view, rows, seconds) after each view.
        track: told how far it is, in rows of each pass over them: one for the ids, two for each view, one to write.
        remark: told, in a sentence, what is no error but hardly meant.

    Returns:
        Rows and columns written.

    Raises:
        ConfigError: a file cannot be read, or a column is missing or wrong.
        HeadraceError: the disk is full.
    """
    plans = [compile_view(view) for view in project.views if view.events is stream]
    row_bytes = _FIXED_BYTES + _CELL_BYTES * sum(len(plan.inputs) + plan.width for plan in plans)
    with tempfile.TemporaryDirectory(prefix="headrace-spill-", dir=folder) as made:
        work = _Work(project, stream, events, labels, Path(made), max(memory_bytes // row_bytes, _FEWEST_ROWS))
        work.passes = _Passes(track, rows=work.rows, count=2 * len(plans) + 2)
        work.find_firsts()
        if remark and work.labels_read and not work.labels_found:
            remark(no_label_found(work.labels_read))
        for plan in plans:
            started = time.perf_counter()
            work.answer(plan, run)
            if progress:
                progress(plan.view.name, work.rows, time.perf_counter() - started)
        return work.rows, work.write(out)


@dataclass(slots=True)
class _Passes:
    """Says how far the passes over the rows are, taken together."""

    track: Track
    rows: int
    count: int
    done: int = 0

    def __post_init__(self) -> None:
        self.add(0)

    def add(self, rows: int) -> None:
        """So many rows have been passed."""
        self.done += rows
        self.track(f"rows in {self.count} passes", self.done, self.rows * self.count)


@dataclass(slots=True)
class _Facts:
    """What is known of a range of rows from elsewhere."""

    first: NDArray[np.bool_]
    labels: NDArray[np.int64] | None


class _Work:
    """One file."""

    def __init__(
        self, project: Project, stream: EventStream, events: Path, labels: Path | None, folder: Path, range_rows: int
    ) -> None:
        self._project, self._stream = project, stream
        self._events, self._labels = events, labels
        self._folder, self._range_rows = folder, range_rows
        self.rows = _count(events)
        # Twice as many as would do if keys were spread evenly.
        self._buckets = max(1, -(-2 * self.rows // range_rows))
        self._outcome = project.labels_of(stream) if labels is not None else None
        self._facts = Spill(folder / "facts")
        self.passes = _Passes(untracked, rows=self.rows, count=1)
        self.labels_read = self.labels_found = 0

    def find_firsts(self) -> None:
        """Of events with one id the first in the file counts; of labels the last."""
        events, labels = Spill(self._folder / "ids"), Spill(self._folder / "labels")
        for start, table in self._event_ranges():
            ids = self._ids(table, "the events file")
            rows = np.arange(start, start + len(ids))
            events.add(pa.table({"row": rows, "id": ids}), key_partitions(ids, self._buckets))
            self.passes.add(len(ids))
        if self._labels is not None and self._outcome is not None:
            for _, table in self._ranges(self._labels):
                ids = self._ids(table, "the labels file")
                column = find_column(table, self._outcome.value, what="the labels file")
                values = read_labels(column, self._outcome, what="the labels file")
                labels.add(pa.table({"id": ids, "value": values}), key_partitions(ids, self._buckets))
                self.labels_read += len(ids)
        for bucket in range(self._buckets):
            held = events.read(bucket)
            if held is None:
                continue
            rows, ids = held["row"].to_numpy(), plain(held["id"].to_numpy())
            facts = {"row": rows, "first": query_kernels.first_of_ids(ids)}
            if self._outcome is not None:
                facts["label"], found = _last_labels(ids, labels.read(bucket))
                self.labels_found += found
            self._facts.add(pa.table(facts), rows // self._range_rows)
            events.remove(bucket)
            labels.remove(bucket)

    def answer(self, plan: ViewPlan, run: Run) -> None:
        """Values of one view, by range of rows."""
        spill, answers = Spill(self._folder / "by-key"), Spill(self._answers(plan))
        for start, table in self._labelled():
            facts = self._facts_of(start)
            read = file_events(plan, table, what=self._what(start, table))
            rows = np.arange(start, start + table.num_rows)
            spill.add(bucket_table(plan, read, rows, facts.first), key_partitions(read.keys, self._buckets))
            self.passes.add(len(rows))
        for bucket, found in run(plan.view, answer_bucket, self._held(spill)):
            answers.add(found, found["row"].to_numpy() // self._range_rows)
            spill.remove(bucket)
            self.passes.add(len(found))

    def write(self, out: Path) -> int:
        """The features, in the order of the events; gives the number of columns."""
        out.parent.mkdir(parents=True, exist_ok=True)
        half = out.with_name(f".{out.name}.part")
        writer: Any = None
        columns = 0
        try:
            for start, table in self._labelled():
                part = compute_file(self._project, self._stream, table, answers=partial(self._values, start))
                writer = writer or pq.ParquetWriter(half, part.schema, compression="zstd")
                writer.write_table(part)
                self.passes.add(part.num_rows)
                columns = part.num_columns
            writer.close()
            half.replace(out)
        except OSError as error:
            half.unlink(missing_ok=True)
            raise HeadraceError(f"{out} cannot be written: {error}", hint="free space or name another --out") from error
        return columns

    def _values(self, start: int, plan: ViewPlan) -> NDArray[np.float64]:
        answers = Spill(self._answers(plan)).read(start // self._range_rows)
        return np.empty((0, plan.width)) if answers is None else values_of(plan, answers)

    def _held(self, spill: Spill) -> Iterator[Bucket]:
        for bucket in range(self._buckets):
            held = spill.read(bucket)
            if held is not None:
                yield bucket, (held,)

    def _labelled(self) -> Iterator[tuple[int, pa.Table]]:
        """Ranges of events, with the outcome's column when labels are in a file of their own."""
        for start, table in self._event_ranges():
            if self._outcome is not None:
                name, known = self._outcome.value, self._facts_of(start).labels
                assert known is not None
                if has_column(table, name):
                    table = table.select([column for column in table.column_names if column.lower() != name.lower()])
                table = table.append_column(name, pa.array(known, mask=known == NULL))
            yield start, table

    def _facts_of(self, start: int) -> _Facts:
        held = self._facts.read(start // self._range_rows)
        if held is None:
            return _Facts(first=np.empty(0, dtype=np.bool_), labels=np.empty(0, dtype=np.int64))
        order = np.argsort(held["row"].to_numpy(), kind="stable")
        first = held["first"].to_numpy(zero_copy_only=False)[order]
        return _Facts(first=first, labels=held["label"].to_numpy()[order] if "label" in held.column_names else None)

    def _event_ranges(self) -> Iterator[tuple[int, pa.Table]]:
        for start, table in self._ranges(self._events):
            yield start, with_ids(table, self._stream, first=start)

    def _ranges(self, path: Path) -> Iterator[tuple[int, pa.Table]]:
        """(first row, rows) of equal size; one empty range of an empty file."""
        with pq.ParquetFile(path) as file:
            waiting, rows, start = [file.schema_arrow.empty_table()], 0, 0
            for batch in file.iter_batches(self._range_rows):
                waiting.append(pa.Table.from_batches([batch]))
                rows += len(batch)
                if rows >= self._range_rows:
                    held = pa.concat_tables(waiting)
                    yield start, held.slice(0, self._range_rows)
                    waiting, start = [held.slice(self._range_rows)], start + self._range_rows
                    rows -= self._range_rows
            if rows or not start:
                yield start, pa.concat_tables(waiting)

    def _ids(self, table: pa.Table, what: str) -> NDArray[np.int64]:
        stream = self._stream
        return plain(event_ids64(read_field(table, stream.id, stream.schema[stream.id], what=what)))

    def _answers(self, plan: ViewPlan) -> Path:
        return self._folder / "answers" / plan.view.name

    def _what(self, start: int, table: pa.Table) -> str:
        return f"the events file, rows {start:,} to {start + table.num_rows:,}"


def _last_labels(ids: NDArray[np.int64], labels: pa.Table | None) -> tuple[NDArray[np.int64], int]:
    """(n,) the last label of each id, NULL for none; and how many have one."""
    values = np.full(len(ids), NULL, dtype=np.int64)
    if labels is None:
        return values, 0
    rows = query_kernels.last_positions(ids, plain(labels["id"].to_numpy()))
    values[rows >= 0] = labels["value"].to_numpy()[rows[rows >= 0]]
    return values, int(np.count_nonzero(rows >= 0))


def _count(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}", hint="give a Parquet file") from error
