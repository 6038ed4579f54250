"""One question to every engine that can answer it.

    answer = ask(view, events, q)         # fails when two engines differ in one bit
    answer.values["sum_x_10m"], answer.status, answer.engines

oracle         every event looked at, see tests/oracle.py
training set   features_at, corrected or as_served
file           compute_file, where an event at q can ask
online row     live state, drained, encoded, decoded at q
stored row     the same row as it lies in the store, where it says that it holds at q
feature log    what the live state logged, as a step function

The live state takes one event at a time in order of arrival, and is saved and restored between them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_store.compute import Mode, compute_file, features_at
from feature_store.event_columns import EventColumns, event_columns
from feature_store.offline_tables import ARRIVAL
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.online.view_rows import EXPIRED, NOT_FOUND, PRESENT, ViewRow
from feature_store.plan import ViewPlan, compile_view
from feature_store.row_values import Value, value_lists
from feature_store.state.view_state import ViewState
from headrace import FeatureView, Float64, Int64, Project, String
from headrace.spec.streams import EventStream
from tests.oracle import OracleEvent, row_values
from tests.stored_rows import stored_rows

__all__ = ["Answer", "Event", "ask"]

_PROBE = -1
"""Id of the event that asks compute_file; cases number theirs from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event as its producer wrote it, and when it arrived."""

    id: int
    t: int
    key: int | str = 1
    fields: Mapping[str, object] = field(default_factory=dict)
    """Those left out are null."""
    arrival: int | None = None
    """None: at its time."""

    @property
    def arrived(self) -> int:
        return self.t if self.arrival is None else self.arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What all engines said."""

    values: dict[str, Value]
    """By feature name; of an empty window where the online row is NOT_FOUND or EXPIRED and has none."""
    status: str
    """Of the online row."""
    valid_from_us: int | None
    valid_until_us: int | None
    engines: tuple[str, ...]
    """Who was asked and agreed."""


def ask(view: FeatureView, events: Sequence[Event], q: int, *, key: int | str = 1, mode: Mode = "corrected") -> Answer:
    """The values of ``key`` at ``q``; every engine is asked, and all must say the same bits.

    Args:
        view: of a stream without labels, late enough that nothing in the case is too late for it.
        events: any order; one id may stand there twice.
        q: instant in microseconds.
        key: entity.
        mode: ``as_served`` leaves out what had not arrived by ``q``.
    """
    plan = compile_view(view)
    arrived = sorted(events, key=lambda event: event.arrived)
    seen = [event for event in arrived if mode == "corrected" or event.arrived <= q]
    said: dict[str, list[Value]] = {}
    asked = np.array([key], dtype=object if plan.has_text_keys else np.int64)
    cells = features_at(plan, _columns(plan, arrived), asked, np.array([q]), mode=mode)
    said["training set"] = value_lists(plan, cells)[0]
    from_file = _of_file(view, seen, key, q)
    if from_file is not None:
        said["file"] = from_file
    online, stored, logged = _of_live_state(plan, seen, key, q)
    if online.status == PRESENT:
        said["online row"] = list(online.values.values())
        if stored is not None:
            said["stored row"] = stored
        if logged is not None:
            said["feature log"] = logged
    else:
        assert online.status in (NOT_FOUND, EXPIRED), f"{online.status}: give the stream of this case more lateness"
        assert all(value is None for value in online.values.values())
        assert (online.status == NOT_FOUND) == (not any(e.key == key and e.t <= q for e in seen))
    answer, *_ = said.values()
    for engine, values in said.items():
        assert list(map(repr, values)) == list(map(repr, answer)), f"{engine} differs from the training set"
    assert _as_cells(view, answer) == row_values(view, _as_oracle(view, seen, key), q), "oracle"
    return Answer(
        values=dict(zip(view.feature_names, answer, strict=True)),
        status=online.status,
        valid_from_us=online.event_time_us,
        valid_until_us=online.valid_until_us,
        engines=("oracle", *said),
    )


def _of_file(view: FeatureView, seen: Sequence[Event], key: int | str, q: int) -> list[Value] | None:
    """The row of an event at ``q``: one added that no window sees, or else one of the case itself, if there is any."""
    edges = [feature.window.enters(view.closed, feature.delay_us) for feature in view.features]
    if all(edge.passes(q) > q for edge in edges):
        rows = [*seen, Event(id=_PROBE, t=q, key=key, fields=_harmless(view.events))]
        place = len(seen)
    else:
        rows = list(seen)
        place = next((i for i, event in enumerate(seen) if event.t == q and event.key == key), -1)
        if place < 0:
            return None
    project = Project(
        name="cases", path=Path(), streams=(view.events,), labels=(), views=(view,), requests=(), models=()
    )
    table = compute_file(project, view.events, _table(view.events, rows))
    return [table[name][place].as_py() for name in view.full_names]


def _of_live_state(
    plan: ViewPlan, seen: Sequence[Event], key: int | str, q: int
) -> tuple[ViewRow, list[Value] | None, list[Value] | None]:
    """The row read at ``q``, the values stored if they hold then, the values logged if there are any."""
    state, encoder, decoder = ViewState(plan), RowEncoder(plan, "cases"), RowDecoder(plan)
    row: bytes | None = None
    log: dict[int, list[Value]] = {}
    for step, arrived in enumerate([*([event] for event in seen), []]):
        columns = _columns(plan, arrived)
        state.apply(columns.keys, columns.times_us, columns.ids, columns.inputs)
        state.advance(arrived[0].t if arrived else q)
        drained = state.drain(log=True)
        row = stored_rows(encoder, drained.latest, version=step, watermark_us=state.watermark_us).get(key, row)
        assert drained.log is not None
        mine = [i for i, of in enumerate(drained.log.keys.tolist()) if of == key]
        values = value_lists(plan, drained.log.values[mine])
        log.update(zip(drained.log.valid_from_us[mine].tolist(), values, strict=True))
        state = ViewState.restore(plan, state.snapshot())
    online, stored = decoder.decode([row, row], [q, None], [None, None])
    since = max((valid_from for valid_from in log if valid_from <= q), default=None)
    logged = None if since is None or (plan.is_continuous and since != q) else log[since]
    if stored.event_time_us is None or stored.valid_until_us is None:
        return online, None, logged
    holds = stored.event_time_us <= q < (stored.event_time_us + 1 if plan.is_continuous else stored.valid_until_us)
    return online, list(stored.values.values()) if holds else None, logged


def _columns(plan: ViewPlan, events: Sequence[Event]) -> EventColumns:
    table = _table(plan.view.events, events)
    arrivals = pa.array([event.arrived for event in events], pa.int64())
    return event_columns(plan, table.append_column(ARRIVAL, arrivals))


def _table(stream: EventStream, events: Sequence[Event]) -> pa.Table:
    columns = {stream.time: pa.array([event.t for event in events], pa.int64()).cast(pa.timestamp("us", tz="UTC"))}
    for name, kind in stream.schema.items():
        given: Iterable[object] = (event.fields.get(name) for event in events)
        if name == stream.id:
            given = (event.id for event in events)
        if name == stream.key:
            given = (event.key for event in events)
        arrow = {Int64: pa.int64(), Float64: pa.float64(), String: pa.string()}.get(type(kind), pa.bool_())
        columns[name] = pa.array(list(given), arrow)
    return pa.table(columns)


def _harmless(stream: EventStream) -> dict[str, object]:
    """Fields of an event that nothing sees."""
    zero = {Int64: 0, Float64: 0.0, String: ""}
    return {name: zero.get(type(kind), False) for name, kind in stream.schema.items()}


def _as_oracle(view: FeatureView, seen: Sequence[Event], key: int | str) -> list[OracleEvent]:
    once: dict[int, OracleEvent] = {}
    for event in seen:
        steps: dict[str, int | str | None] = {}
        for name, kind in view.events.schema.items():
            value = event.fields.get(name)
            exact = value is None or isinstance(kind, String)
            steps[name] = value if exact else round(value * kind.scale)  # type: ignore[assignment,operator]
        once.setdefault(event.id, OracleEvent(event.key, event.t, event.id, steps))
    return [event for event in once.values() if event.key == key]


def _as_cells(view: FeatureView, values: Sequence[Value]) -> list[float | None]:
    """Values as the oracle writes them: lists filled up with None."""
    cells: list[float | None] = []
    for feature, value in zip(view.features, values, strict=True):
        items = value if isinstance(value, list) else [value]
        cells += [None if item is None else float(item) for item in items] + [None] * (feature.width - len(items))
    return cells
