"""Rows in Redis against an offline recomputation, each at the instant from which it holds."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import features_at
from feature_store.event_columns import event_columns
from feature_store.online.lookup import OnlineReader
from feature_store.plan import compile_view
from feature_store.row_values import cell_names
from feature_store.verification.comparison import FeatureComparison
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
            self._check(keys[part], last_us[part])

    def _check(self, keys: NDArray[np.generic], last_us: NDArray[np.int64]) -> None:
        view = self._plan.view
        found = self._reader.read_columns((view,), {view.entity: keys})[view.name]
        self.rows += len(found)
        self.absent += int(np.count_nonzero(~found.is_found))
        # A key without a row is compared at its last event, where its values should not be null.
        at_us = np.where(found.is_found, found.event_time_us, last_us)
        truth = features_at(self._plan, self._events, keys, at_us, mode="corrected")
        self.comparison.add(found.cells, truth, of=[str(key) for key in keys.tolist()], at_us=at_us)
