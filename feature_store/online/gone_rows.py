"""Rows online of keys that have no events left: the state has forgotten them, and a reader must still find them.

Live such a row was written when the last event left its windows. After a backfill nobody has, so it is made of the
feature log, which says when that was.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.compute import evaluate
from feature_store.offline_tables import EVENT_TIMESTAMP
from feature_store.plan import NEVER_US, ViewPlan
from feature_store.rows import RowBatch

__all__ = ["GoneKeys"]


class GoneKeys:
    """Collects keys of a feature log that a state does not hold.

    Args:
        plan: the view.
        held: keys that have events, or cells of a lifetime.
    """

    def __init__(self, plan: ViewPlan, held: NDArray[np.generic]) -> None:
        self._plan = plan
        entity = plan.view.entity
        self._kind = pa.string() if plan.has_text_keys else pa.int64()
        self._held = pa.array(held, self._kind)
        self._last = pa.table({entity: pa.array([], self._kind), EVENT_TIMESTAMP: pa.array([], pa.int64())})

    def add(self, rows: pa.Table) -> None:
        """Look at rows of the log, in any order."""
        entity = self._plan.view.entity
        gone = rows.filter(pc.invert(pc.is_in(rows[entity], value_set=self._held)))
        found = pa.table({entity: gone[entity], EVENT_TIMESTAMP: gone[EVENT_TIMESTAMP].cast(pa.int64())})
        newest = pa.concat_tables([self._last, found]).group_by(entity).aggregate([(EVENT_TIMESTAMP, "max")])
        self._last = newest.rename_columns([entity, EVENT_TIMESTAMP])

    def rows(self, watermark_us: int) -> RowBatch:
        """Their rows: empty windows, since the last event left."""
        plan, count = self._plan, self._last.num_rows
        nothing = np.empty(0, dtype=np.int64)
        empty = evaluate(plan, nothing, nothing, np.empty((len(plan.inputs), 0), dtype=np.int64), watermark_us)
        keys: NDArray[np.generic] = self._last[plan.view.entity].to_numpy()
        rows = RowBatch.without_state(
            plan,
            keys.astype(object) if plan.has_text_keys else keys,
            self._last[EVENT_TIMESTAMP].to_numpy(),
            np.full(count, NEVER_US, dtype=np.int64),
            np.repeat(empty.values[None, :], count, axis=0),
        )
        return replace(rows, has_state=np.ones(count, dtype=np.bool_))
