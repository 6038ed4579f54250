"""Taking a subject's rows out of the offline logs: found by key, then by event id; whole files are replaced.

A file keeps its name and so the offsets it covers, also when no row is left: readers and restarts see the same log with
fewer rows. Each replacement is one rename, and finding nothing changes nothing, so a run that was killed is repeated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.ids import event_ids64
from feature_store.offline.offline_log import log_folder, read_segment, segments_below, write_segment
from feature_store.upkeep.compaction import ROW_GROUP_ROWS, clear_leftovers
from feature_store.upkeep.erased import ErasedSubjects
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream

__all__ = ["Rewritten", "column_values", "erase_events", "erase_features", "erase_labels", "find_events", "rewrite"]

Change = Callable[[pa.Table], pa.Table | None]
"""The rows a file is to hold instead; None to leave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What happened to a log."""

    files: int
    rows: int
    """Rows that went."""


def find_events(offline_dir: Path, project: Project, stream: EventStream, erased: ErasedSubjects) -> pa.Table:
    """Events of erased subjects in the log: id, time and every field a view groups by.

    Args:
        offline_dir: ``Settings.offline_dir``.
        project: whose log.
        stream: which events.
        erased: whose.
    """
    grouped = {view.entity for view in project.views if view.events is stream}
    columns = sorted({stream.id, stream.time, *grouped, *(set(erased.entities) & set(stream.schema))})
    found = []
    for segment in segments_below(log_folder(offline_dir, project.name, "events", stream.name)):
        table = read_segment(segment.path, columns)
        mask = _is_of(erased, stream, table)
        if mask.any():
            found.append(table.filter(pa.array(mask)).replace_schema_metadata(None))
    if found:
        return pa.concat_tables(found, promote_options="permissive")
    return pa.table({name: pa.array([], pa.int64()) for name in columns})


def erase_events(
    offline_dir: Path, project: Project, stream: EventStream, erased: ErasedSubjects, *, dry_run: bool
) -> Rewritten:
    """Take the subjects' events out of the event log. Last of all: everything else is found through them."""
    folder = log_folder(offline_dir, project.name, "events", stream.name)
    return rewrite(folder, lambda table: _without(table, _is_of(erased, stream, table)), dry_run=dry_run)


def erase_labels(
    offline_dir: Path, project: Project, labels: LabelStream, erased: ErasedSubjects, *, dry_run: bool
) -> Rewritten:
    """Take the labels of their events out of the label log."""
    folder, stream = log_folder(offline_dir, project.name, "labels", labels.name), labels.of

    def change(table: pa.Table) -> pa.Table | None:
        return _without(table, erased.has_events(stream.name, event_ids64(column_values(table, stream.id))))

    return rewrite(folder, change, dry_run=dry_run)


def erase_features(
    offline_dir: Path, project: Project, erased: ErasedSubjects, *, dry_run: bool
) -> Iterator[tuple[str, Rewritten]]:
    """Take the subjects' own rows out of every feature log of the project, of former views too; by name."""
    for folder in sorted((offline_dir / project.name / "features").glob("*")):

        def change(table: pa.Table) -> pa.Table | None:
            entity = table.column_names[0]
            return _without(table, erased.has_keys(entity, column_values(table, entity)))

        yield folder.name, rewrite(folder, change, dry_run=dry_run, first_column=set(erased.entities))


def rewrite(folder: Path, change: Change, *, dry_run: bool, first_column: set[str] | None = None) -> Rewritten:
    """Replace the files of a log that change.

    Args:
        folder: the log's folder, above its partitions.
        change: what a file is to hold instead.
        dry_run: only count.
        first_column: look only into files whose first column is one of these.
    """
    files = rows = 0
    if not dry_run:
        for partition in folder.glob("partition=*"):
            clear_leftovers(partition)
    for segment in segments_below(folder):
        if first_column is not None and pq.read_schema(segment.path).names[0] not in first_column:
            continue
        table = read_segment(segment.path)
        changed = change(table)
        if changed is None:
            continue
        files, rows = files + 1, rows + table.num_rows - changed.num_rows
        if not dry_run:
            write_segment(changed, segment.path.parent, segment.first, segment.last, row_group_rows=ROW_GROUP_ROWS)
    return Rewritten(files=files, rows=rows)


def column_values(table: pa.Table, name: str) -> NDArray[np.generic]:
    """A column of keys or ids as int64, or as an object array of texts."""
    column = table[name]
    if pa.types.is_integer(column.type):
        return np.asarray(column.cast(pa.int64()).to_numpy())
    texts = np.empty(len(column), dtype=object)
    texts[:] = column.to_pylist()
    return texts


def _is_of(erased: ErasedSubjects, stream: EventStream, table: pa.Table) -> NDArray[np.bool_]:
    mask = erased.has_events(stream.name, event_ids64(column_values(table, stream.id)))
    for entity in erased.entities:
        if entity in table.column_names:
            mask |= erased.has_keys(entity, column_values(table, entity))
    return mask


def _without(table: pa.Table, gone: NDArray[np.bool_]) -> pa.Table | None:
    return table.filter(pa.array(~gone)) if gone.any() else None
