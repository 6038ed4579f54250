"""Changes of feature rows on their way into the offline log."""

from pathlib import Path

import numpy as np

from feature_store.offline_tables import feature_table
from feature_store.plan import ViewPlan
from feature_store.rows import RowBatch
from streams.logs.segment_owner import OwnedFolder
from streams.ownership.tenures import Tenures

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
        self._owned = OwnedFolder(folder, 0)
        self._parts: list[LogPart] = []
        self.rows = 0

    def restart(self, first_offset: int, tenures: Tenures | None = None) -> None:
        """Forget and remove what lies at or beyond an offset of the keyed log, and what former owners wrote late."""
        self._parts, self.rows = [], 0
        self._owned = OwnedFolder(self._folder, first_offset, tenures)
        self._owned.take_over()

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
        if not parts:
            return
        # One table of all: live there are thousands of parts of a few rows each.
        sizes = [len(rows) for rows, _, _ in parts]
        created_us, version = (np.repeat([part[at] for part in parts], sizes) for at in (1, 2))
        rows = RowBatch.without_state(
            self._plan,
            keys=np.concatenate([rows.keys for rows, _, _ in parts]),
            valid_from_us=np.concatenate([rows.valid_from_us for rows, _, _ in parts]),
            valid_until_us=np.concatenate([rows.valid_until_us for rows, _, _ in parts]),
            values=np.concatenate([rows.values for rows, _, _ in parts]),
        )
        table = feature_table(self._plan, rows, created_us=created_us, version=version)
        self._owned.write(table, first_offset, last_offset)
