"""How far an offline log is read: offsets that pin what a training set saw, whatever arrives afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.offline.offline_log import LogKind, end_offset, log_folder, segments
from feature_store.offline_tables import ARRIVAL, OFFSET, PARTITION, TIMESTAMP
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream

__all__ = ["LogBounds", "bounds_now", "committed_below"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBounds:
    """What of a log counts."""

    last_offsets: Mapping[str, int]
    """``<topic>:<partition>`` -> last offset; a partition that is not named does not count at all."""
    labels_by_us: int | None = None
    """Labels that arrived later do not count, so an earlier one of the same event does."""

    def keep(self, table: pa.Table, kind: LogKind, topic: str) -> pa.Table:
        """Rows of one topic's log within the bounds."""
        partitions, offsets = table[PARTITION].to_numpy(), table[OFFSET].to_numpy()
        inside = np.zeros(table.num_rows, bool)
        for partition in np.unique(partitions):
            last = self.last_offsets.get(f"{topic}:{partition}", -1)
            inside |= (partitions == partition) & (offsets <= last)
        kept = table if inside.all() else table.filter(pa.array(inside))
        if kind != "labels" or self.labels_by_us is None:
            return kept
        return kept.filter(pc.less_equal(kept[ARRIVAL], pa.scalar(self.labels_by_us, TIMESTAMP)))


def bounds_now(offline_dir: Path, project: Project, stream: EventStream, labels: LabelStream | None) -> dict[str, int]:
    """``<topic>:<partition>`` -> last offset on disk, of a stream and its labels."""
    found: dict[str, int] = {}
    kinds: list[tuple[LogKind, str]] = [("events", stream.name)]
    if labels is not None:
        kinds.append(("labels", labels.name))
    for kind, topic in kinds:
        for folder in sorted(log_folder(offline_dir, project.name, kind, topic).glob("partition=*")):
            end = end_offset(folder)
            if end:
                found[f"{topic}:{folder.name.partition('=')[2]}"] = end - 1
    return found


def committed_below(folder: Path) -> int:
    """Offset below which one partition of an event or label log is committed, so that no restart takes it back.

    The newest segment may not be: it is written, then its offset is committed, and only then the next one follows.
    """
    return max((segment.first for segment in segments(folder)), default=0)
