"""Compaction: many small segments of a partition become a few large ones, while others read and write.

A run of neighbours is merged like this; the file system decides what is true after a crash at any point:

    step                              a crash before it leaves            which counts
    1  write the merged rows          some of a hidden file               the old files
    2  rename it to its offsets       a whole hidden file                 the old files
    3  remove the old files           old files beside the merged one     the merged one: it covers the others
    4  (none left)                    the merged file                     the merged file

The merged file is named by the offsets from the first of the run to the last, and a file covered by another one does
not count (:mod:`feature_store.offline.offline_log`), so the rename alone is the change. Hidden files and covered ones
that a crash has left are removed by the next compaction. The same call again ends at doing nothing.

**Which files.** Only those a restarted writer never takes back: of events and labels all but the newest of a partition
(a segment is written before its offset is committed, and the next one after that); of features those up to the oldest
snapshot kept. The caller says where that is (``below``).

**Order.** Events and labels stay in the order of offsets, which is nearly that of time. Feature rows are sorted by
key, then time, so that an as-of join finds a key in few row groups.

**Superseded feature rows** (same key and ``event_timestamp``, older ``created_timestamp``) stay unless asked otherwise.
No training set needs them: it is computed from events. Feast's historical read takes the newest of equals, unless it
is asked with ``filter_by_created_timestamp``, which is the question what was known when: only they can answer it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.offline.offline_log import (
    Segment,
    covered,
    list_files,
    read_segment,
    segment_path,
    segments,
    sync_folder,
    unwritable,
    write_parquet,
)
from feature_store.offline_tables import CREATED, EVENT_TIMESTAMP

__all__ = ["TARGET_BYTES", "Compacted", "FileSteps", "clear_leftovers", "compact", "feature_order"]

TARGET_BYTES = 64 * 1024 * 1024
"""Files that large are left alone; merged in memory, where they are about ten times as large."""
ROW_GROUP_ROWS = 131_072
"""A reader passes over groups by their smallest and largest values; smaller ones cost more than they save."""
_HIDDEN = ".compacting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """One merged file."""

    path: Path
    files: int
    """How many there were before."""
    rows: int
    superseded: int
    """Rows left out, because a newer one says the same instant."""
    bytes_before: int
    bytes_after: int


class FileSteps:
    """What compaction does to files, one method a step; a test ends the process between any two."""

    def write(self, table: pa.Table, path: Path) -> None:
        """Write a file and put it on the disk."""
        write_parquet(table, path, row_group_rows=ROW_GROUP_ROWS)

    def publish(self, hidden: Path, target: Path) -> None:
        """Give a file its name, for good."""
        hidden.replace(target)
        sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        """Remove a file that does not count."""
        path.unlink(missing_ok=True)


def feature_order(entity: str) -> tuple[str, ...]:
    """Columns a feature log is sorted by."""
    return (entity, EVENT_TIMESTAMP, CREATED)


def compact(
    folder: Path,
    *,
    below: int,
    order: Sequence[str] = (),
    drop_superseded: bool = False,
    target_bytes: int = TARGET_BYTES,
    steps: FileSteps | None = None,
) -> Iterator[Compacted]:
    """Merge the small files of one partition; yields what was merged, file by file.

    Args:
        folder: the partition's folder.
        below: only files that end before this offset.
        order: columns to sort by, see :func:`feature_order`; the order of offsets when empty.
        drop_superseded: leave out rows of equal key and time but for the newest; with ``order``.
        target_bytes: size from which a file is left alone.
        steps: how files are changed.

    Raises:
        IntegrityError: a file is no whole Parquet file; it and its neighbours stay as they are.
        HeadraceError: the disk is full; the files stay as they are.
    """
    act = steps or FileSteps()
    clear_leftovers(folder, act)
    settled = [segment for segment in segments(folder) if segment.last < below]
    for run in _runs(settled, target_bytes):
        yield _merge(run, folder, order, drop_superseded, act)


def clear_leftovers(folder: Path, steps: FileSteps | None = None) -> int:
    """Remove what a crashed compaction has left: hidden files, and files another one covers; gives their number."""
    act, removed = steps or FileSteps(), 0
    if not folder.is_dir():
        return 0
    for path in sorted(folder.glob(f".*{_HIDDEN}")) + [segment.path for segment in covered(list_files(folder))]:
        act.remove(path)
        removed += 1
    return removed


def _merge(
    run: Sequence[Segment], folder: Path, order: Sequence[str], drop_superseded: bool, steps: FileSteps
) -> Compacted:
    before = sum(segment.path.stat().st_size for segment in run)
    table = pa.concat_tables([read_segment(segment.path) for segment in run]).combine_chunks()
    rows = table.num_rows
    if order:
        table = table.take(pc.sort_indices(table, [(name, "ascending") for name in order]))
        table = _newest(table, order) if drop_superseded else table
    target = segment_path(folder, run[0].first, run[-1].last)
    hidden = target.with_name(f".{target.name}{_HIDDEN}")
    try:
        steps.write(table, hidden)
    except OSError as error:
        hidden.unlink(missing_ok=True)
        raise unwritable(target, error) from error
    steps.publish(hidden, target)
    for segment in run:
        steps.remove(segment.path)
    return Compacted(
        path=target,
        files=len(run),
        rows=table.num_rows,
        superseded=rows - table.num_rows,
        bytes_before=before,
        bytes_after=target.stat().st_size,
    )


def _newest(table: pa.Table, order: Sequence[str]) -> pa.Table:
    """Of sorted rows that agree in all columns of the order but the last, the last."""
    if table.num_rows < 2:
        return table
    same = None
    for name in order[:-1]:
        column = table[name].combine_chunks()
        equal = pc.equal(column.slice(0, table.num_rows - 1), column.slice(1))
        same = equal if same is None else pc.and_(same, equal)
    return table.filter(pa.concat_arrays([pc.invert(same), pa.array([True])]))


def _runs(settled: Sequence[Segment], target_bytes: int) -> Iterator[list[Segment]]:
    """Neighbours worth merging: small, of one schema, together no larger than a large file."""
    run: list[Segment] = []
    size, schema = 0, None
    for segment in settled:
        bytes_ = segment.path.stat().st_size
        found = pq.read_schema(segment.path).remove_metadata()
        if run and (size + bytes_ > target_bytes or found != schema):
            yield from _worthwhile(run)
            run, size = [], 0
        run.append(segment)
        size, schema = size + bytes_, found
    yield from _worthwhile(run)


def _worthwhile(run: list[Segment]) -> Iterator[list[Segment]]:
    """The run without first files twice as heavy as all after them: a row is merged a few times, not every time."""
    sizes = [segment.path.stat().st_size for segment in run]
    while len(run) > 1 and sizes[0] > 2 * sum(sizes[1:]):
        run, sizes = run[1:], sizes[1:]
    if len(run) > 1:
        yield run
