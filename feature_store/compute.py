"""Features of any keys at any instants, from a table of events: the kernels of the stream, over a file.

corrected   q ──► every event whose time has come
as_served   q ──► of those, what had arrived by q, and the row's own event
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store import answer_kernels, query_kernels
from feature_store.derived import derive_columns
from feature_store.earlier_labels import earlier_taken
from feature_store.event_columns import EventColumns, event_columns
from feature_store.ids import event_ids64
from feature_store.kernel_cache import plain
from feature_store.kernels import I64, shape_of
from feature_store.key_codes import number_keys
from feature_store.plan import NEVER_US, NULL, ViewPlan, compile_view
from feature_store.row_values import value_arrays, value_columns
from feature_store.sketch_answers import answer_rows, answer_sketches
from feature_store.state_kernels import evaluate_states
from feature_store.table_columns import find_column, has_column, read_field, read_labels, read_times, with_ids
from feature_store.tracking import Track, untracked
from feature_store.window_kernels import raise_peaks, sliding_of
from headrace.errors import ConfigError
from headrace.spec.features import RequestFeatures
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelledStream, LabelStream

__all__ = [
    "Evaluation",
    "EventColumns",
    "Mode",
    "compute_file",
    "evaluate",
    "event_columns",
    "features_at",
    "file_events",
    "label_known",
    "no_label_found",
]

Mode = Literal["as_served", "corrected"]
_TRACKED = "rows of views computed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """One row at one instant."""

    values: NDArray[np.float64]
    """(W,) NaN is null."""
    valid_from_us: int
    """NULL when nothing has happened by then."""
    valid_until_us: int
    own_event: Literal["", "applied", "merged"]
    """Whether the own event was among the events, or was added."""


def features_at(
    plan: ViewPlan,
    events: EventColumns,
    keys: NDArray[np.generic],
    at_us: I64,
    *,
    own_ids: I64 | None = None,
    mode: Mode = "corrected",
    as_read: bool = False,
) -> NDArray[np.float64]:
    """Values (q, W) of ``keys`` (q,) at the instants ``at_us`` (q,), in cells as feature_store.row_values says.

    Args:
        plan: which features.
        events: any order; of several events with one id the first counts.
        keys: as in ``events``; an unknown key has the values of empty windows.
        at_us: instants in microseconds, any order.
        own_ids: (q,) the event a row is about; ``as_served`` sees it even if it arrived later, but never its label.
        mode: ``corrected`` sees everything whose time has come; ``as_served`` only what had arrived.
        as_read: null where a read without an own event finds nothing, or what is older than the view's ttl.
    """
    shape = shape_of(plan)
    given, events = events, _plain(events)
    # Questions about the events themselves are in their order already.
    at_us = events.times_us if at_us is given.times_us else plain(at_us)
    own_ids = events.ids if own_ids is given.ids else own_ids
    first = query_kernels.first_of_ids(events.ids)
    if not first.all():
        events = _take(events, np.flatnonzero(first))
    codes, asked, groups = _codes(plan, events.keys, keys)
    nothing = np.empty(0, dtype=np.int64)
    served = mode == "as_served"
    arrival = events.arrival_us if served and events.arrival_us is not None else nothing
    known = events.input_arrival_us if served and events.input_arrival_us is not None else nothing.reshape(0, 0)
    earlier = events.earlier_labels if known.size and events.earlier_labels is not None else nothing.reshape(3, 0)
    peaks = np.zeros(len(plan.inputs), dtype=np.int64)
    raise_peaks(events.inputs, peaks)
    if earlier.size:
        peaks[plan.label_input] = max(peaks[plan.label_input], np.abs(earlier[2]).max())
    starts, lengths = np.zeros(groups + 1, dtype=np.int64), np.bincount(codes, minlength=groups)
    np.cumsum(lengths + 1, out=starts[1:])
    history = np.empty((starts[-1], shape.width), dtype=np.int64)
    rows, latest = (np.empty(len(history) if arrival.size or known.size else 0, dtype=np.int64) for _ in range(2))
    by_time = _order(events.times_us, events.ids)
    answer_kernels.arrange(
        by_time, codes, starts, events.times_us, events.ids, events.inputs, shape, history, rows, arrival, known, latest
    )
    is_same = asked is codes and at_us is events.times_us
    order, ends = _by_key(by_time if is_same else _order(at_us, None), asked, groups)
    values = np.empty((len(at_us), plan.width), dtype=np.float64)
    since = np.empty(len(at_us) if as_read else 0, dtype=np.int64)
    own = nothing if own_ids is None else plain(own_ids)
    answer_kernels.answer(
        shape,
        history,
        starts,
        rows,
        order,
        ends,
        nothing if is_same else at_us,
        own,
        arrival,
        known,
        earlier,
        peaks,
        latest,
        values,
        since,
        sliding_of(shape, peaks, int(lengths.max(initial=0))),
    )
    if plan.sketches:
        answer_sketches(
            plan, codes, events.times_us, events.ids, events.inputs, asked, at_us, own, arrival, known, earlier, values
        )
    if as_read:
        ttl_us = NEVER_US if plan.view.ttl_us is None else plan.view.ttl_us
        values[(since == NULL) | (at_us - np.maximum(since, 0) > ttl_us)] = np.nan
    return values


def evaluate(
    plan: ViewPlan, t: I64, ids: I64, inputs: I64, at_us: int, own: tuple[int, int, I64] | None = None
) -> Evaluation:
    """One row from all events of a key.

    Args:
        plan: which features.
        t: (m,) event times, rising with ``ids``.
        ids: (m,) event ids.
        inputs: (I, m) whole steps.
        at_us: the instant.
        own: (time, id, inputs (I,)) of an event to count in, once.
    """
    shape = shape_of(plan)
    values = np.empty((1, plan.width), dtype=np.float64)
    valid_from, valid_until = np.empty(1, dtype=np.int64), np.empty(1, dtype=np.int64)
    own_state = np.zeros(1, dtype=np.int8)
    own_t, own_id, own_inputs = own or (0, 0, np.zeros(len(plan.inputs), dtype=np.int64))
    evaluate_states(
        shape,
        np.array([0, len(t)], dtype=np.int64),
        plain(t),
        plain(ids),
        plain(inputs),
        np.empty((0, shape.width - shape.base), dtype=np.int64),
        np.array([at_us], dtype=np.int64),
        np.array([own is not None], dtype=np.bool_),
        np.array([own_t], dtype=np.int64),
        np.array([own_id], dtype=np.int64),
        plain(own_inputs.reshape(-1, 1)),
        values,
        valid_from,
        valid_until,
        own_state,
    )
    if plan.sketches:
        answer_rows(
            plan, [(b"",) * len(plan.sketches)], np.array([0, len(t)]), t, ids, inputs, np.array([at_us]),
            own_state == 2, np.array([own_t]), np.array([own_id]), own_inputs.reshape(-1, 1), values,
        )  # fmt: skip
    states: tuple[Literal["", "applied", "merged"], ...] = ("", "applied", "merged")
    return Evaluation(
        values=values[0],
        valid_from_us=int(valid_from[0]),
        valid_until_us=int(valid_until[0]),
        own_event=states[own_state[0]],
    )


def compute_file(
    project: Project,
    stream: EventStream,
    events: pa.Table,
    labels: pa.Table | None = None,
    *,
    answers: Callable[[ViewPlan], NDArray[np.float64]] | None = None,
    progress: Callable[[str, int, float], None] | None = None,
    track: Track = untracked,
    remark: Callable[[str], None] | None = None,
) -> pa.Table:
    """Every feature of a stream for every event of a table, as it was known at the event.

    A label counts as known at the event's time plus the label stream's delay.

    Args:
        project: views and request features of ``stream``, in declared order, and what is derived from them.
        stream: what the rows of ``events`` are.
        events: columns as declared, by name, or by name but for case; any order, any integer width. Of a stream
            without an id rows count in their order, unless there is a column of its ``_id``.
        labels: id and outcome, the last of several counting; needed when a view looks at labels and ``events``
            has no column of the outcome.
        answers: gives the values of a view for these events where they are known already.
        progress: called with (view, rows, seconds) after each view.
        track: told how far it is, in rows of each view.
        remark: told, in a sentence, what is no error but hardly meant.

    Returns:
        One row per row of ``events``, in their order: the id, then all full feature names; counts and flags int64.

    Raises:
        ConfigError: a column is missing or wrong.
    """
    what = "the events file"
    outcome = project.labels_of(stream)
    events = with_ids(events, stream)
    if outcome is not None:
        events = _with_labels(events, labels, outcome, what, remark)
    names, columns = [stream.id], [find_column(events, stream.id, what=what)]
    known: dict[str, NDArray[np.float64]] = {}
    views = [view for view in project.views if view.events is stream]
    for number, view in enumerate(views):
        track(_TRACKED, number * len(events), len(views) * len(events))
        started = time.perf_counter()
        plan = compile_view(view)
        values = answers(plan) if answers else _own_values(plan, file_events(plan, events, what=what))
        names.extend(view.full_names)
        columns.extend(value_arrays(plan, values))
        known |= value_columns(plan, values)
        if progress:
            progress(view.name, len(values), time.perf_counter() - started)
    for request in project.requests:
        if request.of is stream:
            made = request_columns(request, events, what=what)
            names.extend(request.full_names)
            columns.extend(made)
            known |= {
                name: column.cast(pa.float64()).to_numpy(zero_copy_only=False)
                for name, column in zip(request.full_names, made, strict=True)
            }
    for derived in project.derived:
        if all(name in known for item in derived.of for name in item.full_names):
            found = derive_columns(derived, known)
            names.extend(found)
            columns.extend(_arrow(values, False) for values in found.values())
    return pa.table(columns, names=names)


def file_events(plan: ViewPlan, events: pa.Table, *, what: str) -> EventColumns:
    """Events of a file as a view sees them: there is no arrival, and a label is known after its delay.

    Raises:
        ConfigError: a column is missing or wrong.
    """
    read = event_columns(plan, events, what=what)
    return dataclasses.replace(read, arrival_us=None, input_arrival_us=label_known(plan, read), earlier_labels=None)


def _own_values(plan: ViewPlan, events: EventColumns) -> NDArray[np.float64]:
    return features_at(plan, events, events.keys, events.times_us, own_ids=events.ids, mode="as_served")


def request_columns(request: RequestFeatures, events: pa.Table, *, what: str = "the events") -> list[pa.Array]:
    """Request features of every event; flags and whole numbers int64, others float64.

    Raises:
        ConfigError: a column is missing or wrong, or the function fails on these events.
    """
    stream = request.of
    fields: dict[str, NDArray[np.generic]] = {stream.time: read_times(events, stream, what=what)}
    for name, kind in stream.published.items():
        fields[name] = read_field(events, name, kind, what=what)
    try:
        made: Mapping[str, Any] = request.fn(fields)
        values = [np.broadcast_to(np.asarray(made[name]), len(events)) for name in request.feature_names]
    except Exception as error:
        raise ConfigError(
            f"request features {request.name!r} fail on {what}: {error!r}",
            hint="the function takes numpy arrays of equal length as well as plain numbers",
        ) from error
    return [_arrow(value, value.dtype.kind in "biu") for value in values]


def no_label_found(labels: int) -> str:
    """A remark on labels that are all of other events."""
    return f"none of the {labels:,} labels is of an event of the events file, so no outcome is known"


def _with_labels(
    events: pa.Table, labels: pa.Table | None, outcome: LabelStream, what: str, remark: Callable[[str], None] | None
) -> pa.Table:
    """The events with the column of the outcome; a table of labels goes before a column of the events."""
    if labels is None:
        return events
    stream, source = outcome.of, "the labels file"
    kind = stream.schema[stream.id]
    ids = event_ids64(read_field(events, stream.id, kind, what=what))
    labelled = event_ids64(read_field(labels, stream.id, kind, what=source))
    values = read_labels(find_column(labels, outcome.value, what=source), outcome, what=source)
    rows = query_kernels.last_positions(plain(ids), plain(labelled))
    if remark and len(labels) and not (rows >= 0).any():
        remark(no_label_found(len(labels)))
    column = np.full(len(ids), NULL, dtype=np.int64)
    column[rows >= 0] = values[rows[rows >= 0]]
    if has_column(events, outcome.value):
        events = events.select([name for name in events.column_names if name.lower() != outcome.value.lower()])
    return events.append_column(outcome.value, pa.array(column, mask=column == NULL))


def label_known(plan: ViewPlan, events: EventColumns) -> I64 | None:
    """(I, n) labels are known after their delay; other inputs with the event."""
    if plan.label_input < 0:
        return None
    known = np.full_like(events.inputs, NULL)
    delay_us = plan.view.source.labels.delay_us if isinstance(plan.view.source, LabelledStream) else 0
    known[plan.label_input] = events.times_us + delay_us
    return known


def _arrow(values: NDArray[np.generic], whole: bool) -> pa.Array:
    if whole:
        return pa.array(values.astype(np.int64))
    numbers = values.astype(np.float64)
    return pa.array(numbers, mask=np.isnan(numbers))


def _plain(events: EventColumns) -> EventColumns:
    late, inputs, earlier = events.arrival_us, events.input_arrival_us, events.earlier_labels
    return EventColumns(
        keys=events.keys,
        times_us=plain(events.times_us),
        ids=plain(events.ids),
        inputs=plain(events.inputs),
        arrival_us=None if late is None else plain(late),
        input_arrival_us=None if inputs is None else plain(inputs),
        earlier_labels=None if earlier is None else plain(earlier),
    )


def _take(events: EventColumns, rows: I64) -> EventColumns:
    late, inputs, earlier = events.arrival_us, events.input_arrival_us, events.earlier_labels
    return EventColumns(
        keys=events.keys[rows],
        times_us=events.times_us[rows],
        ids=events.ids[rows],
        inputs=np.ascontiguousarray(events.inputs[:, rows]),
        arrival_us=None if late is None else late[rows],
        input_arrival_us=None if inputs is None else np.ascontiguousarray(inputs[:, rows]),
        earlier_labels=None if earlier is None else earlier_taken(earlier, rows),
    )


def _codes(
    plan: ViewPlan, keys: NDArray[np.generic], asked: NDArray[np.generic]
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    if plan.has_text_keys:
        encoded = pa.array(keys, type=pa.string()).dictionary_encode()
        found = pc.index_in(pa.array(asked, type=pa.string()), value_set=encoded.dictionary).fill_null(-1)
        return encoded.indices.to_numpy(), found.to_numpy(), len(encoded.dictionary)
    numbered = number_keys(plain(keys), np.empty(0, np.int64) if asked is keys else plain(asked))
    return (numbered[0], numbered[0], numbered[2]) if asked is keys else numbered


def _by_key(order: I64, codes: NDArray[np.int32], groups: int) -> tuple[I64, I64]:
    """Rows by key, each key's as they were; and where each key's end."""
    rows = order if len(order) else np.arange(len(codes))
    by_key = np.empty(len(rows), dtype=np.int64)
    return by_key, query_kernels.grouped(rows, codes, groups, by_key)


def _order(times: I64, ids: I64 | None) -> I64:
    """Rows by (time, id); empty when they already are."""
    if query_kernels.is_rising(times, times if ids is None else ids):
        return np.empty(0, dtype=np.int64)
    return np.argsort(times, kind="stable") if ids is None else np.lexsort((ids, times))
