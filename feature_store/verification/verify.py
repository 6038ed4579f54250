"""Logged online reads against an offline recomputation from the event log.

    prediction log ──► features as they were used ─┐
                                                   ├─ equal, bit for bit?
    event log ──► the same kernels at the instant ─┘

The recomputation sees every event whose time had come, the prediction's own included, whether or not it ever reached
the stream. Events too late for the stream are left out, as no online value promises them.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import evaluate, features_at, request_columns
from feature_store.derived import derive_columns
from feature_store.event_columns import EventColumns, event_columns
from feature_store.ids import event_id64, event_ids64
from feature_store.kernels import I64
from feature_store.own_event import OwnEvent, OwnEventReader
from feature_store.plan import ViewPlan, compile_view
from feature_store.row_values import value_columns
from feature_store.table_columns import read_field
from feature_store.verification.comparison import FeatureComparison
from headrace.contracts.predictions import PredictionRecord
from headrace.spec.model import Model
from headrace.spec.streams import EventStream
from headrace.spec.types import Int64

__all__ = ["PredictionVerifier"]

_WHAT = "the event log"
_NO_PROMISE = frozenset({"STALE", "EXPIRED"})


class PredictionVerifier:
    """Checks the logged predictions of one model, in batches of any size."""

    def __init__(self, model: Model, events: pa.Table, others: Sequence[pa.Table] = ()) -> None:
        """
        Args:
            model: whose inputs are checked.
            events: its stream's events, from :func:`feature_store.offline.event_log.read_events` with labels and
                without late ones.
            others: events of each further stream, ``model.streams[1:]``, read likewise.
        """
        self._model = model
        self._stream = model.events
        self._events = events
        self._ids = event_ids64(read_field(events, self._stream.id, self._stream.schema[self._stream.id], what=_WHAT))
        self._by_id = np.argsort(self._ids, kind="stable")
        tables = dict(zip(model.streams, (events, *others), strict=True))
        self._histories = [_History(compile_view(view), tables[view.events]) for view in model.views]
        self._names = model.feature_names
        self.comparison = FeatureComparison(self._names)
        self.predictions = 0
        self.skipped: Counter[str] = Counter()
        """Why reads were not compared -> how many predictions or views."""

    def add(self, records: Sequence[PredictionRecord]) -> None:
        """Recompute and compare a batch."""
        read = [record for record in records if record.model == self._model.name and record.views]
        self.skipped["fallback"] += sum(record.model == self._model.name and not record.views for record in records)
        if not read:
            return
        self.predictions += len(read)
        ids = np.array([event_id64(_typed(self._stream, self._stream.id, record.event_id)) for record in read])
        at_us = np.array([record.event_us for record in read], np.int64)
        logged = np.array([[_float(record.features.get(name)) for name in self._names] for record in read])
        found = self._positions(ids)
        own = [_own_event(self._stream, record) for record in read]
        truth, skip = self._own_columns(read, found), _Flags(len(read))
        served = dict(truth)
        for history in self._histories:
            view = history.plan.view
            is_own = view.events is self._stream
            corrected, as_served = history.at(
                _keys(history.plan, self._stream, read), at_us, ids, found >= 0, own, is_own
            )
            truth |= value_columns(history.plan, corrected)
            served |= value_columns(history.plan, as_served)
            status = [str(record.views.get(view.name, {}).get("status", "absent")) for record in read]
            skip.set(view.full_names, np.array([name in _NO_PROMISE or name == "absent" for name in status]))
            self.skipped.update(f"{view.name} {name}" for name in status if name in _NO_PROMISE or name == "absent")
        for derived in self._model.derived:
            truth |= derive_columns(derived, truth)
            served |= derive_columns(derived, served)
            of = [name for item in derived.of for name in item.full_names]
            skip.set(derived.full_names, np.any([skip.of(name) for name in of], axis=0))
        names = [record.prediction_id for record in read]
        self.comparison.add(
            logged,
            np.column_stack([truth[name] for name in self._names]),
            of=names,
            at_us=at_us,
            skip=np.column_stack([skip.of(name) for name in self._names]),
            as_served=np.column_stack([served[name] for name in self._names]),
        )

    def _positions(self, ids: I64) -> I64:
        """Row of each event in the log, -1 where it is not there."""
        if not len(self._ids):
            return np.full(len(ids), -1, np.int64)
        place = np.searchsorted(self._ids, ids, sorter=self._by_id)
        rows = self._by_id[np.minimum(place, len(self._ids) - 1)]
        return np.where(self._ids[rows] == ids, rows, -1)

    def _own_columns(self, read: list[PredictionRecord], found: I64) -> dict[str, NDArray[np.float64]]:
        """Request features and plain fields, from the logged event, or as sent where it never came."""
        table = self._own_rows(read, found)
        columns = {
            name: column
            for request in self._model.requests
            for name, column in zip(
                request.full_names, request_columns(request, table, what="the predicted events"), strict=True
            )
        }
        for name in (item for item in self._model.features if isinstance(item, str)):
            columns[name] = read_field(table, name, self._stream.schema[name], what="the predicted events")
        return {
            name: (column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column).astype(np.float64)
            for name, column in columns.items()
        }

    def _own_rows(self, read: list[PredictionRecord], found: I64) -> pa.Table:
        names = [*self._stream.schema, self._stream.time]
        known = self._events.select(names)
        sent = pa.Table.from_pylist(
            [{name: read[row].event.get(name) for name in names} for row in np.flatnonzero(found < 0)], known.schema
        )
        both = pa.concat_tables([known.take(found[found >= 0]), sent])
        order = np.concatenate([np.flatnonzero(found >= 0), np.flatnonzero(found < 0)])
        return both.take(np.argsort(order))


class _History:
    """The events of one view, asked at instants."""

    def __init__(self, plan: ViewPlan, events: pa.Table) -> None:
        self.plan = plan
        self._events = event_columns(plan, events, what=_WHAT)
        self._own = OwnEventReader(plan)
        self._sorted: I64 | None = None

    def at(
        self,
        keys: NDArray[np.generic],
        at_us: I64,
        ids: I64,
        logged: NDArray[np.bool_],
        own: Sequence[OwnEvent],
        is_own: bool,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values (n, W), from all events and from those that had arrived; ``is_own``: of the predicted stream."""
        truth = features_at(self.plan, self._events, keys, at_us, mode="corrected", as_read=not is_own)
        if not is_own:
            return truth, features_at(self.plan, self._events, keys, at_us, mode="as_served", as_read=True)
        served = features_at(self.plan, self._events, keys, at_us, own_ids=ids, mode="as_served")
        for row in np.flatnonzero(~logged).tolist():
            truth[row] = served[row] = self._with_own(keys[row], int(at_us[row]), own[row])
        return truth, served

    def _with_own(self, key: object, at_us: int, own: OwnEvent) -> NDArray[np.float64]:
        """Values with an event that is not in the log."""
        rows = self._rows_of(key)
        times, ids, inputs = self._own.columns([own])
        found = evaluate(
            self.plan,
            self._events.times_us[rows],
            self._events.ids[rows],
            np.ascontiguousarray(self._events.inputs[:, rows]),
            at_us,
            (int(times[0]), int(ids[0]), inputs[:, 0].copy()),
        )
        return found.values

    def _rows_of(self, key: object) -> I64:
        events: EventColumns = self._events
        if self._sorted is None:
            by_time = np.lexsort((events.ids, events.times_us))
            self._sorted = by_time[np.argsort(events.keys[by_time], kind="stable")]
        first = np.searchsorted(events.keys, key, side="left", sorter=self._sorted)  # type: ignore[call-overload]  # a key of the array's own type
        last = np.searchsorted(events.keys, key, side="right", sorter=self._sorted)  # type: ignore[call-overload]  # as above
        return self._sorted[first:last]


class _Flags:
    """Which values of a batch promise nothing, by full name."""

    def __init__(self, rows: int) -> None:
        self._none = np.zeros(rows, np.bool_)
        self._set: dict[str, NDArray[np.bool_]] = {}

    def set(self, names: Sequence[str], rows: NDArray[np.bool_]) -> None:
        self._set.update(dict.fromkeys(names, rows))

    def of(self, name: str) -> NDArray[np.bool_]:
        return self._set.get(name, self._none)


def _keys(plan: ViewPlan, stream: EventStream, records: Sequence[PredictionRecord]) -> NDArray[np.generic]:
    entity = plan.view.entity
    keys = [_typed(stream, entity, record.entities[entity]) for record in records]
    return np.array(keys, object if plan.has_text_keys else np.int64)


def _typed(stream: EventStream, field: str, text: str) -> int | str:
    return int(text) if isinstance(stream.schema[field], Int64) else text


def _own_event(stream: EventStream, record: PredictionRecord) -> OwnEvent:
    fields = {name: value for name, value in record.event.items() if name in stream.schema}
    return OwnEvent(id=_typed(stream, stream.id, record.event_id), time_us=record.event_us, fields=fields)


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)
