"""What a backfill costs before it runs: rows of the logs it reads, and the time they take at a measured rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.definitions.applied_views import AppliedViews
from feature_store.offline.offline_log import LogKind, log_folder, segments_below
from feature_store.offline_tables import OFFSET
from headrace.config import Settings
from headrace.errors import IntegrityError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import LabelledStream

__all__ = ["BackfillCost", "cost_of", "rows_logged", "rows_of"]

_ROWS_PER_S = 200_000.0
"""Before this home has a rate of its own: the views of the fraud example took 245,000 and 415,000 rows a CPU second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillCost:
    """Of one view."""

    rows: int
    """Events and labels in the offline log."""
    seconds: float
    is_measured: bool
    """Whether the rate is of an earlier backfill in this home."""


def rows_logged(
    settings: Settings, project: Project, view: FeatureView, starts: Mapping[tuple[str, int], int] | None = None
) -> int:
    """Rows of the logs a view reads; with ``starts`` those from these offsets on.

    Raises:
        IntegrityError: a file is no whole Parquet file.
    """
    topics: list[tuple[LogKind, str]] = [("events", view.events.name)]
    if isinstance(view.source, LabelledStream):
        topics.append(("labels", view.source.labels.name))
    rows = 0
    for kind, topic in topics:
        for segment in segments_below(log_folder(settings.offline_dir, project.name, kind, topic)):
            number = int(segment.path.parent.name.partition("=")[2])
            start = 0 if starts is None else starts.get((topic, number), 0)
            if segment.last >= start:
                rows += rows_of(segment.path, start if start > segment.first else 0)
    return rows


def rows_of(path: Path, start: int = 0) -> int:
    """Rows of a segment, from an offset on; 0 when it was merged into another one meanwhile, as this serves estimates.

    Raises:
        IntegrityError: the file is no whole Parquet file.
    """
    try:
        if not start:
            return int(pq.read_metadata(path).num_rows)
        with pq.ParquetFile(path) as file:
            return sum(
                int(np.count_nonzero(batch[OFFSET].to_numpy() >= start))
                for batch in file.iter_batches(columns=[OFFSET])
            )
    except FileNotFoundError:
        return 0
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(f"segment {path} cannot be read: {error}", hint="restore it from a copy") from error


def cost_of(settings: Settings, project: Project, view: FeatureView, applied: AppliedViews) -> BackfillCost:
    """Rows and time of computing a view from the beginning."""
    own = applied.views.get(view.name)
    measured = [known.rows_per_s for known in applied.views.values() if known.rows_per_s]
    rate = own.rows_per_s if own is not None and own.rows_per_s else min(measured, default=_ROWS_PER_S)
    rows = rows_logged(settings, project, view)
    return BackfillCost(rows=rows, seconds=rows / rate, is_measured=bool(measured))
