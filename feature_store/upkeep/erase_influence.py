"""What an erased subject's events did to the rows of others, and those rows as if the events had never been.

A card's payment counts in the window of the shop it was made in. When the card goes, the shop's rows change:

    payments of the shop   ──●────────────●──────────○─────────►        ○ the erased one
    its log before           │ 1          │ 2        │ 3     │ 2        a row at each instant something changes
    its log after            │ 1          │ 2 ───────────────│ 1        no row at ○ and at its leaving, other values

Values are computed again from the event log, by the kernels that computed them in the stream.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import EventColumns, event_columns, features_at
from feature_store.kernels import shape_of
from feature_store.offline_tables import EVENT_TIMESTAMP, TIMESTAMP, VALID_UNTIL
from feature_store.plan import NEVER_US, ViewPlan
from feature_store.row_values import value_arrays
from feature_store.rows import RowBatch
from feature_store.sketch_answers import saved_after
from feature_store.state.forget import LifetimeBase
from feature_store.state_kernels import lifetime_cells
from feature_store.upkeep.erase_logs import column_values

__all__ = ["Influence"]

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _KeyChanges:
    """Instants at which a key's row changes."""

    kept: I64
    """Because of events that stay; rising."""
    gone: I64
    """Only because of events that go; rising."""
    first_us: int
    last_us: int
    """Span in which values may be others."""


class Influence:
    """Keys of one view that are not erased and whose windows held events of an erased subject.

    Args:
        plan: the view.
        events: gives the events of its stream with their labels, without those that go; asked only when needed.
        erased: events that go: key of the view, and time.
        gone_keys: which keys are erased themselves; their rows simply go.
    """

    def __init__(
        self, plan: ViewPlan, events: Callable[[], pa.Table], erased: pa.Table, *, gone_keys: NDArray[np.bool_]
    ) -> None:
        self.plan = plan
        self._changes: dict[Any, _KeyChanges] = {}
        erased = erased.filter(pa.array(~gone_keys))
        owners = column_values(erased, plan.view.entity)
        times_us = np.asarray(erased[plan.view.events.time].cast(pa.int64()).to_numpy())
        self.keys = _distinct(owners)
        if not len(self.keys):
            return
        table = events()
        rest = table.filter(pa.array(_is_in(column_values(table, plan.view.entity), self.keys)))
        # As the stream saw it: an event counts from its own time on.
        columns = event_columns(plan, rest)
        self._events: EventColumns = replace(columns, arrival_us=None, input_arrival_us=None, earlier_labels=None)
        self._changes = {
            key: self._changes_of(columns.times_us[columns.keys == key], times_us[owners == key])
            for key in self.keys.tolist()
        }

    def changed_us(self, at_us: int) -> dict[Any, int]:
        """Key -> last instant up to ``at_us`` at which its row changes because of what stays; without such, no key."""
        found = {}
        for key, changes in self._changes.items():
            before = int(np.searchsorted(changes.kept, at_us, side="right"))
            if before:
                found[key] = int(changes.kept[before - 1])
        return found

    def rows_without_events(self, keys: NDArray[np.generic], at_us: int) -> RowBatch:
        """Rows of keys whose events have all left their windows by ``at_us``; keys that never had any are left out."""
        changed_us = self.changed_us(at_us)
        kept = keys[np.array([key in changed_us for key in keys.tolist()], dtype=np.bool_)]
        instants = np.full(len(kept), at_us, dtype=np.int64)
        if self.plan.view.has_lifetime:
            kept = kept[:0]  # what a lifetime has counted keeps its slot, and its row comes from there
        rows = RowBatch.without_state(
            self.plan,
            kept,
            np.array([changed_us[key] for key in kept.tolist()], dtype=np.int64),
            np.full(len(kept), NEVER_US, dtype=np.int64),
            self._values(kept, instants[: len(kept)]),
        )
        return replace(rows, has_state=np.ones(len(kept), dtype=np.bool_))

    def rewrite(self, table: pa.Table) -> pa.Table | None:
        """Rows of the feature log as if the events had never been; None when nothing changes."""
        keys = column_values(table, self.plan.view.entity)
        at_us = np.asarray(table[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy())
        until_us = np.asarray(table[VALID_UNTIL].cast(pa.int64()).fill_null(NEVER_US).to_numpy()).copy()
        drop, again = np.zeros(len(keys), dtype=np.bool_), np.zeros(len(keys), dtype=np.bool_)
        stretched = False
        for row_of_key, key in _rows_by_key(keys, self.keys):
            changes = self._changes[key]
            mine_us = at_us[row_of_key]
            drop[row_of_key] = np.isin(mine_us, changes.gone)
            again[row_of_key] = (mine_us >= changes.first_us) & (mine_us <= changes.last_us)
            cut = row_of_key[np.isin(until_us[row_of_key], changes.gone)]
            until_us[cut] = _next_after(changes.kept, at_us[cut])
            stretched = stretched or len(cut) > 0
        again &= ~drop
        if not (drop.any() or again.any() or stretched):
            return None
        values = self._values(keys[again], at_us[again])
        position = table.column_names.index(VALID_UNTIL)
        ends = pa.array(until_us, pa.int64(), mask=until_us == NEVER_US).cast(TIMESTAMP)
        changed = table.set_column(position, table.schema.field(position), ends)
        for name, column in zip(self.plan.feature_names, value_arrays(self.plan, values), strict=True):
            changed = _with_values(changed, name, again, column)
        changed = changed.filter(pa.array(~drop))
        return None if changed.equals(table) else changed

    def _values(self, keys: NDArray[np.generic], at_us: I64) -> NDArray[np.float64]:
        if not len(keys):
            return np.empty((0, self.plan.width), dtype=np.float64)
        return features_at(self.plan, self._events, keys, at_us)

    def _changes_of(self, kept_us: I64, gone_us: I64) -> _KeyChanges:
        kept = np.unique(self._moments(kept_us))
        return _KeyChanges(
            kept=kept,
            gone=np.setdiff1d(self._moments(gone_us), kept),
            first_us=int(gone_us.min()),
            last_us=NEVER_US if self.plan.view.has_lifetime else int(self._moments(gone_us.max(keepdims=True)).max()),
        )

    def _moments(self, times_us: I64) -> I64:
        """(n, D) instants at which events pass the edges of the view."""
        return np.array([[edge.passes(t) for edge in self.plan.edges] for t in times_us.tolist()], dtype=np.int64)

    def base_before(self, key: Any, t: int, event_id: int) -> LifetimeBase | None:
        """What a key's events that are left before one add up to; None of a key that nothing was taken from."""
        if key not in self._changes:
            return None
        events = self._events
        mine = np.flatnonzero(events.keys == key)
        mine = mine[np.lexsort((events.ids[mine], events.times_us[mine]))]
        before = (events.times_us[mine] < t) | ((events.times_us[mine] == t) & (events.ids[mine] < event_id))
        mine = mine[before]
        inputs = np.ascontiguousarray(events.inputs[:, mine])
        cells: I64 = lifetime_cells(shape_of(self.plan), events.times_us[mine], events.ids[mine], inputs)
        return LifetimeBase(cells=cells, sketches=saved_after(self.plan, inputs))


def _with_values(table: pa.Table, name: str, again: NDArray[np.bool_], values: pa.Array) -> pa.Table:
    position = table.column_names.index(name)
    field = table.schema.field(position)
    both = pa.chunked_array([*table[name].chunks, values.cast(field.type)], field.type)
    rows = np.arange(table.num_rows)
    rows[again] = table.num_rows + np.arange(len(values))
    return table.set_column(position, field, both.take(pa.array(rows)))


def _rows_by_key(keys: NDArray[np.generic], wanted: NDArray[np.generic]) -> list[tuple[NDArray[np.int64], Any]]:
    inside = np.flatnonzero(_is_in(keys, wanted))
    found: dict[Any, list[int]] = {}
    for row, key in zip(inside.tolist(), keys[inside].tolist(), strict=True):
        found.setdefault(key, []).append(row)
    return [(np.array(rows, dtype=np.int64), key) for key, rows in found.items()]


def _next_after(instants: I64, at_us: I64) -> I64:
    places = np.searchsorted(instants, at_us, side="right")
    following: I64 = np.append(instants, NEVER_US)[places]
    return following


def _is_in(keys: NDArray[np.generic], wanted: NDArray[np.generic]) -> NDArray[np.bool_]:
    if keys.dtype != object:
        return np.isin(keys, wanted)
    known = set(wanted.tolist())
    return np.fromiter((key in known for key in keys.tolist()), dtype=np.bool_, count=len(keys))


def _distinct(keys: NDArray[np.generic]) -> NDArray[np.generic]:
    if keys.dtype != object:
        return np.unique(keys)
    texts = np.empty(len(set(keys.tolist())), dtype=object)
    texts[:] = sorted(set(keys.tolist()))
    return texts
