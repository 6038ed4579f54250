"""Changes of feature rows on their way into the offline log."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.offline_log import drop_from, write_segment
from feature_store.offline_tables import TIMESTAMP, feature_schema
from feature_store.plan import NEVER_US, ViewPlan
from feature_store.row_values import value_arrays
from feature_store.rows import RowBatch

__all__ = ["FeatureBuffer", "LogPart"]

LogPart = tuple[RowBatch, int, int]
"""Rows of one drain, the wall clock of their writing, and their version."""


class FeatureBuffer:
    """Collects the log rows of one partition of a view.

    Args:
        plan: the view.
        folder: the partition's folder in the offline log.
    """

    def __init__(self, plan: ViewPlan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._schema = feature_schema(plan.view)
        self._parts: list[LogPart] = []
        self.rows = 0

    def restart(self, first_offset: int) -> None:
        """Forget and remove what lies at or beyond an offset of the keyed log."""
        self._parts, self.rows = [], 0
        drop_from(self._folder, first_offset)

    def add(self, rows: RowBatch, *, created_us: int, version: int) -> None:
        """Rows of one drain; of two drains with equal rows the larger ``created_us`` counts."""
        if len(rows):
            self._parts.append((rows, created_us, version))
            self.rows += len(rows)

    def take(self) -> list[LogPart]:
        """What was collected; the buffer is empty then."""
        parts, self._parts, self.rows = self._parts, [], 0
        return parts

    def write(self, parts: list[LogPart], first_offset: int, last_offset: int) -> None:
        """Make rows durable as the changes of these offsets; may run in another thread than the rest."""
        if parts:
            table = pa.concat_tables([self._table(*part) for part in parts])
            write_segment(table, self._folder, first_offset, last_offset)

    def _table(self, rows: RowBatch, created_us: int, version: int) -> pa.Table:
        n, plan = len(rows), self._plan
        keys: Any = rows.keys
        arrays = [
            pa.array(keys, self._schema.field(0).type),
            _instants(rows.valid_from_us),
            _instants(np.full(n, created_us, dtype=np.int64)),
        ]
        arrays += value_arrays(plan, rows.values)
        arrays.append(_instants(rows.valid_until_us, mask=rows.valid_until_us == NEVER_US))
        arrays.append(pa.array(np.full(n, version, dtype=np.int64)))
        return pa.table(arrays, schema=self._schema)


def _instants(times_us: NDArray[np.int64], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(times_us, pa.int64(), mask=mask).cast(TIMESTAMP)
