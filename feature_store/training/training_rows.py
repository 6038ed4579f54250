"""Rows of a training set from a table of events: features as of each event's instant, and its label.

         window of a feature             label matures
    ──────[════════════●]──────────────────────○───────────┬──► time
                       t  the event        t + delay     as_of   what is known when the set is built

A row enters when its label is known: the label window has closed by ``as_of`` and the label has arrived.
Two views of the past can be asked for:

as_served   only what had arrived by t counts, as serving saw it; the event itself counts from t
corrected   late events count too; a label counts from t + delay on, whenever it arrived
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.compute import EventColumns, Mode, event_columns, features_at, request_columns
from feature_store.derived import derive_columns
from feature_store.ids import event_ids64
from feature_store.offline.repeated_ids import on_time
from feature_store.offline_tables import ARRIVAL, LABEL_ARRIVAL, LATE
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.row_values import value_columns
from feature_store.table_columns import find_column, read_field, read_labels, read_times
from feature_store.tracking import Track, untracked
from headrace.errors import ConfigError
from headrace.spec.model import Model
from headrace.spec.policies import SlicesHold
from headrace.spec.streams import EventStream, LabelledStream
from headrace.spec.types import String

__all__ = ["Answers", "arrived_late_share", "first_needed_us", "has_row", "known_events", "seen_by", "training_rows"]

Answers = Callable[[ViewPlan, pa.Table], NDArray[np.float64]]
"""Takes a view and the events that have rows; gives (n, W) cells."""

_WHAT = "the events"


def training_rows(
    model: Model,
    events: pa.Table,
    *,
    start_us: int,
    end_us: int,
    as_of_us: int,
    mode: Mode = "as_served",
    others: Sequence[pa.Table] = (),
    answers: Answers | None = None,
    track: Track = untracked,
) -> pa.Table:
    """One row per event in [start, end) whose label is known, sorted by time and id.

    Args:
        model: whose inputs and label.
        events: events of its stream with the outcome's column, from :func:`first_needed_us` on; when present
            ``_arrival``, ``_label_arrival`` and ``_late`` are respected.
        start_us: first event time.
        end_us: event time after the last.
        as_of_us: knowledge time.
        mode: ``as_served`` or ``corrected``.
        others: events of each further stream, ``model.streams[1:]``.
        answers: gives the values of a view where they are known already; ``events`` are then those of rows alone.
        track: told how many rows the views have answered.

    Returns:
        id, event time, fields that only gates look at, the inputs as float64, the label as int64.

    Raises:
        ConfigError: a column is missing or wrong, or the mode is unknown.
    """
    if mode not in ("as_served", "corrected"):
        raise ConfigError(f"mode is {mode!r}", hint="use as_served or corrected")
    stream, label = model.events, model.label
    if mode == "as_served":
        events, others = seen_by(events, as_of_us), [seen_by(other, as_of_us) for other in others]
    times_us = read_times(events, stream, what=_WHAT)
    outcomes = read_labels(find_column(events, label.value, what=_WHAT), label, what=_WHAT)
    wanted = has_row(model, events, start_us=start_us, end_us=end_us, as_of_us=as_of_us, mode=mode)
    order = _by_time_and_id(events, stream.id, times_us)
    chosen = order[wanted[order]]
    spine = events.take(pa.array(chosen))

    columns = {
        stream.id: find_column(spine, stream.id, what=_WHAT),
        stream.time: pa.array(times_us[chosen]).cast(pa.timestamp("us", tz="UTC")),
    }
    columns |= {name: _nullable(_field(spine, model, name)) for name in _fields_of_gates(model)}
    tables = {model.events: events} if answers else dict(zip(model.streams, (events, *others), strict=True))
    columns |= _inputs(model, tables, spine, mode, answers, track)
    columns[label.value] = pa.array(outcomes[chosen])
    return pa.table(columns)


def has_row(
    model: Model, events: pa.Table, *, start_us: int, end_us: int, as_of_us: int, mode: Mode
) -> NDArray[np.bool_]:
    """(n,) whether an event is in the range and its label is known."""
    label = model.label
    times_us = read_times(events, model.events, what=_WHAT)
    outcomes = read_labels(find_column(events, label.value, what=_WHAT), label, what=_WHAT)
    wanted: NDArray[np.bool_] = (times_us >= start_us) & (times_us < end_us)
    wanted &= (outcomes != NULL) & (times_us + label.delay_us <= as_of_us)
    if mode == "as_served" and LABEL_ARRIVAL in events.column_names:
        wanted &= pc.fill_null(pc.less_equal(_instants(events[LABEL_ARRIVAL]), as_of_us), False).to_numpy()
    return wanted


def first_needed_us(model: Model, stream: EventStream, start_us: int) -> int:
    """Time of the earliest event that can matter to a training set whose rows begin at ``start_us``."""
    views = [view for view in model.views if view.events is stream]
    if any(view.has_lifetime for view in views):
        return stream.earliest_us
    return start_us - max((view.reach_us for view in views), default=0)


def arrived_late_share(model: Model, events: pa.Table, start_us: int, end_us: int) -> float:
    """Share of the events in [start, end) that arrived later than the stream's lateness after their time.

    Live it is near zero; near one, the log was filled afterwards.
    """
    if ARRIVAL not in events.column_names:
        return 0.0
    times_us = read_times(events, model.events, what=_WHAT)
    inside = (times_us >= start_us) & (times_us < end_us)
    delays_us = _instants(events[ARRIVAL]).to_numpy()[inside] - times_us[inside]
    return float(np.mean(delays_us > model.events.lateness_us)) if delays_us.size else 0.0


def _inputs(
    model: Model,
    events: Mapping[EventStream, pa.Table],
    spine: pa.Table,
    mode: Mode,
    answers: Answers | None,
    track: Track,
) -> dict[str, pa.Array]:
    """Inputs by full name, in the model's order."""
    found: dict[str, NDArray[np.float64]] = {}
    times_us = read_times(spine, model.events, what=_WHAT)
    ids = event_ids64(read_field(spine, model.events.id, model.events.schema[model.events.id], what=_WHAT))
    for number, view in enumerate(model.views):
        plan = compile_view(view)
        track("questions to views answered", number * spine.num_rows, len(model.views) * spine.num_rows)
        if answers:
            found |= value_columns(plan, answers(plan, spine))
            continue
        read = known_events(plan, event_columns(plan, events[view.events], what=_WHAT), mode)
        keys = read_field(spine, view.entity, model.events.schema[view.entity], what=_WHAT)
        is_own = view.events is model.events
        # Both modes differ in what counts as arrived, see known_events; never does a row see its own label too early.
        # Views of other streams are read without an own event that would make a row of a key never seen.
        values = features_at(
            plan, read, keys, times_us, own_ids=ids if is_own else None, mode="as_served", as_read=not is_own
        )
        found |= value_columns(plan, values)
    for request in model.requests:
        made = request_columns(request, spine, what=_WHAT)
        found |= {
            name: values.cast(pa.float64()).to_numpy(zero_copy_only=False)
            for name, values in zip(request.full_names, made, strict=True)
        }
    for derived in model.derived:
        found |= derive_columns(derived, found)
    found |= {name: _field(spine, model, name) for name in model.features if isinstance(name, str)}
    return {name: _nullable(found[name]) for name in model.feature_names}


def known_events(plan: ViewPlan, events: EventColumns, mode: Mode) -> EventColumns:
    """Events with the instants from which they and their labels count."""
    if mode == "as_served":
        return events
    labels = None
    if plan.label_input >= 0 and isinstance(plan.view.source, LabelledStream):
        labels = np.full_like(events.inputs, NULL)
        labels[plan.label_input] = events.times_us + plan.view.source.labels.delay_us
    return dataclasses.replace(events, arrival_us=None, input_arrival_us=labels, earlier_labels=None)


def seen_by(events: pa.Table, as_of_us: int) -> pa.Table:
    """Events the stream had applied by ``as_of_us``."""
    if ARRIVAL in events.column_names:
        events = events.filter(pc.less_equal(_instants(events[ARRIVAL]), as_of_us))
    return on_time(events) if LATE in events.column_names else events


def _fields_of_gates(model: Model) -> tuple[str, ...]:
    """Number fields of the event that slices need and that are no inputs."""
    schema = model.events.schema
    asked = [column for gate in model.gates if isinstance(gate, SlicesHold) for column in gate.columns]
    wanted = [name for name in asked if name in schema and not isinstance(schema[name], String)]
    return tuple(name for name in dict.fromkeys(wanted) if name not in (*model.feature_names, model.events.id))


def _field(events: pa.Table, model: Model, name: str) -> NDArray[np.float64]:
    return read_field(events, name, model.events.schema[name], what=_WHAT).astype(np.float64)


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _instants(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    return column.cast(pa.int64())


def _by_time_and_id(events: pa.Table, id_column: str, times_us: NDArray[np.int64]) -> NDArray[np.int64]:
    table = pa.table({"time": times_us, "id": find_column(events, id_column, what=_WHAT)})
    order: NDArray[np.int64] = pc.sort_indices(table, [("time", "ascending"), ("id", "ascending")]).to_numpy()
    return order.astype(np.int64)
