"""Rows of a training set over a history that is larger than memory; the rows themselves must fit.

log       every event once, with its label                          log_spill
rows      those whose label is known                                kept in memory, without values
view      events, and the rows' questions, by entity in buckets ─►  values of each bucket, put to their rows
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.compute import EventColumns, Mode, event_columns, features_at
from feature_store.ids import event_ids64, key_partitions
from feature_store.log_bounds import LogBounds
from feature_store.log_spill import SpilledLog
from feature_store.offline_tables import TIMESTAMP
from feature_store.plan import ViewPlan, compile_view
from feature_store.spill import Spill
from feature_store.table_columns import read_field, read_times
from feature_store.training_rows import first_needed_us, has_row, known_events, seen_by, training_rows
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
) -> tuple[pa.Table, pa.Table]:
    """As :func:`feature_store.training_rows.training_rows` on all of the log.

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
        work = _Work(settings, project, model, bounds, Path(made), range_rows, span)
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
    ) -> None:
        self._model, self._folder, self._span = model, folder, span
        self._logs = {
            stream: SpilledLog(
                settings.offline_dir,
                project,
                stream,
                bounds=bounds,
                range_rows=range_rows,
                folder=folder / "logs" / stream.name,
            )
            for stream in model.streams
        }
        for log in self._logs.values():
            log.prepare()
        most = max(log.rows for log in self._logs.values())
        # Twice as many as would do if keys were spread evenly.
        self._buckets = max(1, -(-2 * most // range_rows))

    def spine(self) -> pa.Table:
        """Events of the rows, numbered."""
        log = self._logs[self._model.events]
        parts = [table.filter(pa.array(has_row(self._model, table, **self._span))) for table in self._seen(log, None)]
        spine = pa.concat_tables(parts).combine_chunks()
        return spine.append_column(_PLACE, pa.array(np.arange(spine.num_rows)))

    def answer(self, plan: ViewPlan, spine: pa.Table) -> NDArray[np.float64]:
        """Values of one view for every row."""
        view, stream, own_stream = plan.view, plan.view.events, self._model.events
        is_own = stream is own_stream
        events = Spill(self._folder / "views" / view.name)
        for table in self._seen(self._logs[stream], first_needed_us(self._model, stream, self._span["start_us"])):
            read = known_events(plan, event_columns(plan, table, what=_WHAT), self._span["mode"])
            events.add(_table_of(plan, read), key_partitions(read.keys, self._buckets))
        keys = read_field(spine, view.entity, own_stream.schema[view.entity], what=_WHAT)
        times_us = read_times(spine, own_stream, what=_WHAT)
        ids = event_ids64(read_field(spine, own_stream.id, own_stream.schema[own_stream.id], what=_WHAT))
        asked = key_partitions(keys, self._buckets)
        values = np.empty((spine.num_rows, plan.width), dtype=np.float64)
        for bucket in np.unique(asked).tolist():
            rows = np.flatnonzero(asked == bucket)
            held = _columns_of(plan, events.read(bucket))
            own_ids = ids[rows] if is_own else None
            values[rows] = features_at(
                plan, held, keys[rows], times_us[rows], own_ids=own_ids, mode="as_served", as_read=not is_own
            )
        return values

    def _seen(self, log: SpilledLog, first_us: int | None) -> Iterator[pa.Table]:
        """Events of a log that can matter."""
        for table in log.ranges():
            if self._span["mode"] == "as_served":
                table = seen_by(table, self._span["as_of_us"])
            times = table[log.time]
            keep = pc.less(times, pa.scalar(self._span["end_us"], TIMESTAMP))
            if first_us is not None:
                keep = pc.and_(keep, pc.greater_equal(times, pa.scalar(first_us, TIMESTAMP)))
            yield table.filter(keep)


def _table_of(plan: ViewPlan, events: EventColumns) -> pa.Table:
    columns: dict[str, Any] = {
        "key": pa.array(events.keys, pa.string() if plan.has_text_keys else pa.int64()),
        "t": events.times_us,
        "id": events.ids,
    }
    if events.arrival_us is not None:
        columns["arrival"] = events.arrival_us
    for number, column in enumerate(events.inputs):
        columns[f"i{number}"] = pa.array(column)
    for number, column in enumerate(() if events.input_arrival_us is None else events.input_arrival_us):
        columns[f"k{number}"] = pa.array(column)
    return pa.table(columns)


def _columns_of(plan: ViewPlan, held: pa.Table | None) -> EventColumns:
    count = len(plan.inputs)
    if held is None:
        nothing = np.empty(0, dtype=np.int64)
        keys = nothing.astype(object) if plan.has_text_keys else nothing
        return EventColumns(keys=keys, times_us=nothing, ids=nothing, inputs=nothing.reshape(count, 0))
    names = set(held.column_names)
    return EventColumns(
        keys=held["key"].to_numpy(zero_copy_only=False),
        times_us=held["t"].to_numpy(),
        ids=held["id"].to_numpy(),
        inputs=_stacked(held, "i", count),
        arrival_us=held["arrival"].to_numpy() if "arrival" in names else None,
        input_arrival_us=_stacked(held, "k", count) if "k0" in names else None,
    )


def _stacked(held: pa.Table, prefix: str, count: int) -> NDArray[np.int64]:
    stacked = np.empty((count, held.num_rows), dtype=np.int64)
    for number in range(count):
        stacked[number] = held[f"{prefix}{number}"].to_numpy()
    return stacked
