"""Rows of a training set over a history that is larger than memory; the rows themselves must fit.

log       every event once, with its label                          log_spill
rows      those whose label is known                                kept in memory, without values
view      events, and the rows' questions, by entity in buckets ─►  values of each bucket (training_answers)
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.compute import Mode, event_columns
from feature_store.ids import event_ids64
from feature_store.offline.log_bounds import LogBounds
from feature_store.offline_tables import TIMESTAMP
from feature_store.partitioning import key_partitions
from feature_store.plan import ViewPlan, compile_view
from feature_store.table_columns import read_field, read_times
from feature_store.tracking import Track, untracked
from feature_store.training.bucket_answers import Bucket, Run, put_values, run_here
from feature_store.training.log_spill import SpilledLog
from feature_store.training.spill import Spill
from feature_store.training.training_answers import answer_questions, events_table, no_events, questions_table
from feature_store.training.training_rows import first_needed_us, has_row, known_events, seen_by, training_rows
from headrace.config import Settings
from headrace.spec.model import Model
from headrace.spec.project import Project

__all__ = ["training_rows_spilled"]

_ROW_BYTES = 400
"""Of an event, whatever the views: its fields twice, ids, arrival, order."""
_CELL_BYTES = 64
_FEWEST_ROWS = 1_000
_WHAT = "the events"
_PLACE = "_place"
"""Column that numbers the rows while their values are on the way."""


def training_rows_spilled(
    settings: Settings,
    project: Project,
    model: Model,
    bounds: LogBounds,
    *,
    start_us: int,
    end_us: int,
    as_of_us: int,
    mode: Mode,
    memory_bytes: int,
    folder: Path | None = None,
    run: Run = run_here,
    track: Track = untracked,
) -> tuple[pa.Table, pa.Table]:
    """As :func:`feature_store.training.training_rows.training_rows` on all of the log.

    Args:
        settings: where the log is.
        project: of the model.
        model: whose inputs and label.
        bounds: how far the log is read.
        start_us: first event time.
        end_us: event time after the last.
        as_of_us: knowledge time.
        mode: ``as_served`` or ``corrected``.
        memory_bytes: about how much of the history may be held at once.
        folder: where to spill; the system's own for such when absent.
        run: where buckets are answered.
        track: told how far each of the passes over the log is, and how many rows each view has answered.

    Returns:
        The rows, and the events they are of.

    Raises:
        UnavailableError: files of the log were removed meanwhile.
        HeadraceError: the disk is full.
    """
    plans = [compile_view(view) for view in model.views]
    row_bytes = _ROW_BYTES + _CELL_BYTES * sum(len(plan.inputs) + plan.width for plan in plans)
    range_rows = max(memory_bytes // row_bytes, _FEWEST_ROWS)
    span: dict[str, Any] = {"start_us": start_us, "end_us": end_us, "as_of_us": as_of_us, "mode": mode}
    with tempfile.TemporaryDirectory(prefix="headrace-spill-", dir=folder) as made:
        work = _Work(settings, project, model, bounds, Path(made), range_rows, span, run, track)
        spine = work.spine()
        values = {plan.view.name: work.answer(plan, spine) for plan in plans}
    rows = training_rows(
        model, spine, answers=lambda plan, chosen: values[plan.view.name][chosen[_PLACE].to_numpy()], **span
    )
    return rows, spine.drop_columns([_PLACE])


class _Work:
    """One training set."""

    def __init__(
        self,
        settings: Settings,
        project: Project,
        model: Model,
        bounds: LogBounds,
        folder: Path,
        range_rows: int,
        span: dict[str, Any],
        run: Run,
        track: Track,
    ) -> None:
        self._model, self._folder, self._span, self._run, self._track = model, folder, span, run, track
        self._logs = {
            stream: SpilledLog(
                settings.offline_dir,
                project,
                stream,
                bounds=bounds,
                with_late=span["mode"] == "corrected",
                range_rows=range_rows,
                folder=folder / "logs" / stream.name,
            )
            for stream in model.streams
        }
        for log in self._logs.values():
            log.prepare(track)
        most = max(log.rows for log in self._logs.values())
        # Twice as many as would do if keys were spread evenly.
        self._buckets = max(1, -(-2 * most // range_rows))

    def spine(self) -> pa.Table:
        """Events of the rows, numbered."""
        log = self._logs[self._model.events]
        seen = self._seen(log, None, f"events of {self._model.events.name} asked for their labels")
        parts = [table.filter(pa.array(has_row(self._model, table, **self._span))) for table in seen]
        spine = pa.concat_tables(parts).combine_chunks()
        return spine.append_column(_PLACE, pa.array(np.arange(spine.num_rows)))

    def answer(self, plan: ViewPlan, spine: pa.Table) -> NDArray[np.float64]:
        """Values of one view for every row."""
        view, stream, own_stream = plan.view, plan.view.events, self._model.events
        is_own = stream is own_stream
        events = Spill(self._folder / "views" / view.name)
        first_us = first_needed_us(self._model, stream, self._span["start_us"])
        for table in self._seen(self._logs[stream], first_us, f"events of {stream.name} sorted for {view.name}"):
            read = known_events(plan, event_columns(plan, table, what=_WHAT), self._span["mode"])
            events.add(events_table(plan, read), key_partitions(read.keys, self._buckets))
        keys = read_field(spine, view.entity, own_stream.schema[view.entity], what=_WHAT)
        times_us = read_times(spine, own_stream, what=_WHAT)
        ids = event_ids64(read_field(spine, own_stream.id, own_stream.schema[own_stream.id], what=_WHAT))
        asked = key_partitions(keys, self._buckets)
        values = np.empty((spine.num_rows, plan.width), dtype=np.float64)

        def buckets() -> Iterator[Bucket]:
            for bucket in np.unique(asked).tolist():
                rows = np.flatnonzero(asked == bucket)
                questions = questions_table(plan, rows, keys[rows], times_us[rows], ids[rows] if is_own else None)
                held = events.read(bucket)
                yield bucket, (events_table(plan, no_events(plan)) if held is None else held, questions)

        answered = 0
        for bucket, answers in self._run(view, answer_questions, buckets()):
            self._track(f"questions to {view.name} answered", answered, spine.num_rows)
            put_values(answers, values)
            answered += answers.num_rows
            events.remove(bucket)
        return values

    def _seen(self, log: SpilledLog, first_us: int | None, work: str) -> Iterator[pa.Table]:
        """Events of a log that can matter."""
        read = 0
        for table in log.ranges():
            self._track(work, read, log.rows)
            read += table.num_rows  # without repeated ids, of which there are few
            if self._span["mode"] == "as_served":
                table = seen_by(table, self._span["as_of_us"])
            times = table[log.time]
            keep = pc.less(times, pa.scalar(self._span["end_us"], TIMESTAMP))
            if first_us is not None:
                keep = pc.and_(keep, pc.greater_equal(times, pa.scalar(first_us, TIMESTAMP)))
            yield table.filter(keep)
