"""Rows in Redis against an offline recomputation, each at the instant from which it holds."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from feature_store.comparison import FeatureComparison
from feature_store.compute import features_at
from feature_store.event_columns import event_columns
from feature_store.lookup import LookupRequest, OnlineReader
from feature_store.plan import ViewPlan, compile_view
from feature_store.row_values import Value, cell_names
from headrace.spec.features import FeatureView

__all__ = ["OnlineVerifier"]

_BATCH = 500


class OnlineVerifier:
    """Checks a sample of the keys of one view."""

    def __init__(self, view: FeatureView, events: pa.Table, reader: OnlineReader) -> None:
        """
        Args:
            view: whose rows are checked.
            events: its stream's events, with labels and without late ones.
            reader: of the same project.
        """
        self._plan, self._reader = compile_view(view), reader
        self._events = event_columns(self._plan, events, what="the event log")
        self.comparison = FeatureComparison(cell_names(view))
        self.rows = 0
        """Keys looked up."""
        self.absent = 0
        """Keys of the event log without a row; each value of theirs is a mismatch, too."""

    def check(self, most: int) -> None:
        """Compare up to ``most`` keys of the event log, the same ones every time."""
        keys, row = np.unique(self._events.keys, return_inverse=True)
        last_us = np.full(len(keys), np.iinfo(np.int64).min)
        np.maximum.at(last_us, row, self._events.times_us)
        chosen = np.arange(len(keys))
        if len(keys) > most:
            chosen = np.sort(np.random.default_rng(0).choice(len(keys), most, replace=False))
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            self._check(keys[part].tolist(), last_us[part].tolist())

    def _check(self, keys: Sequence[int | str], last_us: Sequence[int]) -> None:
        view = self._plan.view
        answers = self._reader.read([LookupRequest(views=(view,), entities={view.entity: key}) for key in keys])
        found = [answer[view.name] for answer in answers]
        self.rows += len(found)
        self.absent += sum(row.event_time_us is None for row in found)
        # A key without a row is compared at its last event, where its values should not be null.
        instants = [
            last if row.event_time_us is None else row.event_time_us for row, last in zip(found, last_us, strict=True)
        ]
        stored = [_cells(self._plan, list(row.values.values())) for row in found]
        at_us = np.array(instants, np.int64)
        asked = np.array(keys, object if self._plan.has_text_keys else np.int64)
        truth = features_at(self._plan, self._events, asked, at_us, mode="corrected")
        self.comparison.add(np.array(stored), truth, of=[str(key) for key in keys], at_us=at_us)


def _cells(plan: ViewPlan, values: Sequence[Value]) -> list[float]:
    """Values as the cells they were stored in."""
    cells = [np.nan] * plan.width
    for entry, value in zip(plan.features, values, strict=True):
        items = value if isinstance(value, list) else [] if value is None else [value]
        cells[entry.slot : entry.slot + len(items)] = map(float, items)
    return cells
