"""Rows in Redis against an offline recomputation, each at the instant from which it holds, in both its forms.

    one HMGET a key ──► _hr:<view>             our row ─────────────────────┐
                    └─► <feature> … _ts:<view>    what any Feast client reads ─┤ equal, bit for bit?
    event log ──► the same kernels at ``valid_from`` ────────────────────────┘

Both are of one moment, so that a stream that goes on makes no difference between them.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import features_at
from feature_store.event_columns import event_columns
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_layout import row_field, timestamp_field
from feature_store.online.view_rows import ViewColumns
from feature_store.plan import compile_view
from feature_store.row_values import cell_names
from feature_store.tracking import Track, untracked
from feature_store.verification.comparison import FeatureComparison
from feature_store.verification.feast_fields import feast_fields, feast_rows
from feature_store.verification.redis_fields import FieldReader
from headrace.spec.features import FeatureView

__all__ = ["OnlineVerifier"]

_BATCH = 500


class OnlineVerifier:
    """Checks a sample of the keys of one view."""

    def __init__(self, view: FeatureView, events: pa.Table, reader: FieldReader) -> None:
        """
        Args:
            view: whose rows are checked.
            events: its stream's events, with labels and without late ones.
            reader: of the same project.
        """
        self._plan, self._reader = compile_view(view), reader
        self._decoder = RowDecoder(self._plan)
        self._fields = [row_field(view.name), *feast_fields(self._plan)]
        self._events = event_columns(self._plan, events, what="the event log")
        self.comparison = FeatureComparison(cell_names(view))
        """Of our own rows."""
        self.as_feast = FeatureComparison([*cell_names(view), timestamp_field(view.name).decode()])
        """Of the same rows as Feast reads them; the last is their event timestamp, in microseconds."""
        self.rows = 0
        """Keys looked up."""
        self.absent = 0
        """Keys of the event log without a row; each value of theirs is a mismatch, too."""

    def check(self, most: int, track: Track = untracked) -> None:
        """Compare up to ``most`` keys of the event log, the same ones every time."""
        keys, row = np.unique(self._events.keys, return_inverse=True)
        last_us = np.full(len(keys), np.iinfo(np.int64).min)
        np.maximum.at(last_us, row, self._events.times_us)
        chosen = np.arange(len(keys))
        if len(keys) > most:
            chosen = np.sort(np.random.default_rng(0).choice(len(keys), most, replace=False))
        for start in range(0, len(chosen), _BATCH):
            track(f"keys of {self._plan.view.name} compared", start, len(chosen))
            part = chosen[start : start + _BATCH]
            self._check(keys[part], last_us[part])

    def _check(self, keys: NDArray[np.generic], last_us: NDArray[np.int64]) -> None:
        found = self._reader.read(self._plan.view.entity, keys.tolist(), self._fields)
        ours = self._decoded([data for data, *_ in found])
        theirs = feast_rows(self._plan, [fields for _, *fields in found])
        self.rows += len(ours)
        self.absent += int(np.count_nonzero(~ours.is_found))
        # A key without a row is compared at its last event, where its values should not be null.
        at_us = np.where(np.isnan(theirs.times_us), last_us, np.nan_to_num(theirs.times_us).astype(np.int64))
        at_us = np.where(ours.is_found, ours.event_time_us, at_us)
        truth = features_at(self._plan, self._events, keys, at_us, mode="corrected")
        of = [str(key) for key in keys.tolist()]
        self.comparison.add(ours.cells, truth, of=of, at_us=at_us)
        self.as_feast.add(
            np.column_stack([theirs.cells, theirs.times_us]),
            np.column_stack([truth, at_us.astype(np.float64)]),
            of=of,
            at_us=at_us,
            unreadable=theirs.is_unreadable,
        )

    def _decoded(self, rows: Sequence[bytes | None]) -> ViewColumns:
        ends = np.cumsum([len(data or b"") for data in rows], dtype=np.int64)
        spans = np.stack([ends - [len(data or b"") for data in rows], ends], axis=1)
        spans[[data is None for data in rows]] = 0  # as read_replies says that there is none
        data = np.frombuffer(b"".join(data or b"" for data in rows), np.uint8)
        return self._decoder.stored_columns(data, spans.reshape(-1, 1, 2), 0)
