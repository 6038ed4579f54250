"""The offline log: immutable Parquet segments named by the offsets they hold.

    <root>/<project>/events/<stream>/partition=K/<first>-<last>.parquet      every event, as it arrived
    <root>/<project>/labels/<stream>/partition=K/<first>-<last>.parquet      every label, as it arrived
    <root>/<project>/features/<view>/partition=K/<first>-<last>.parquet      every change of a feature row

A segment appears whole or not at all and is never changed. A writer that starts again removes what lies beyond the
offset it restarts from (:func:`drop_from`) and writes it anew.

**A file counts unless another one covers it**, that is, its offsets lie within those of a larger file of the folder.
Compaction (:mod:`feature_store.upkeep.compaction`) puts a large file beside the small ones it was made of and then
removes those; with this rule every listing is either the old files or the new one. Layout for other readers:
docs/offline.md.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import HeadraceError, IntegrityError

__all__ = [
    "LogKind",
    "Segment",
    "covered",
    "drop_from",
    "end_offset",
    "list_files",
    "log_folder",
    "read_segment",
    "segment_path",
    "segments",
    "segments_below",
    "sync_folder",
    "unfinished_by",
    "unwritable",
    "write_parquet",
    "write_segment",
]

LogKind = Literal["events", "labels", "features"]

_NAME = re.compile(r"(\d{20})-(\d{20})\.parquet")
_UNFINISHED = ".unfinished"
_WRITER = re.compile(rf"\.(\d+)-\d+\{_UNFINISHED}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of the log."""

    path: Path
    first: int
    last: int
    """Offsets of its first and last message, both included."""


def log_folder(offline_dir: Path, project: str, kind: LogKind, name: str, partition: int | None = None) -> Path:
    """Folder of a log, or of one partition of it.

    Args:
        offline_dir: ``Settings.offline_dir``.
        project: ``Project.name``.
        kind: which of the three logs.
        name: stream, label stream or view.
        partition: partition of the topic the offsets belong to.
    """
    folder = offline_dir / project / kind / name
    return folder if partition is None else folder / f"partition={partition}"


def segment_path(folder: Path, first: int, last: int) -> Path:
    """File of the offsets ``first`` to ``last``, both included; sorts by name as by offset."""
    if not 0 <= first <= last:
        raise ValueError(f"no segment holds the offsets {first} to {last}")
    return folder / f"{first:020d}-{last:020d}.parquet"


def write_segment(
    table: pa.Table,
    folder: Path,
    first: int,
    last: int,
    metadata: Mapping[str, str] | None = None,
    *,
    row_group_rows: int | None = None,
    by: int = 0,
) -> Path:
    """Write one segment so that it survives a crash of the machine once this returns.

    Args:
        table: its rows.
        folder: partition folder, made when absent.
        first: first offset it covers.
        last: last offset it covers, included.
        metadata: kept in the file's footer beside what the schema already carries.
        row_group_rows: see :func:`write_parquet`.
        by: who writes it, see :func:`unfinished_by`.

    Raises:
        HeadraceError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    target = segment_path(folder, first, last)
    unfinished = target.with_name(f".{target.name}.{by}-{os.getpid()}{_UNFINISHED}")
    if metadata:
        footer = {**(table.schema.metadata or {}), **{key.encode(): text.encode() for key, text in metadata.items()}}
        table = table.replace_schema_metadata(footer)
    try:
        _make_folder(folder)
        write_parquet(table, unfinished, row_group_rows=row_group_rows)
        unfinished.replace(target)
        sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise unwritable(target, error) from error
    return target


def write_parquet(table: pa.Table, path: Path, *, row_group_rows: int | None = None) -> None:
    """Write rows in the log's encodings and put them on the disk; the file's name is not.

    Args:
        table: the rows.
        path: the file, replaced when it exists.
        row_group_rows: rows of a group, which a reader can pass over as one. Such a file stays, and is compressed with
            zstd; one without groups waits for compaction, and takes lz4: two thirds of the time, a fifth more bytes.
    """
    compression = "lz4" if row_group_rows is None else "zstd"
    with path.open("wb") as file:
        pq.write_table(table, file, compression=compression, row_group_size=row_group_rows, **_encodings(table.schema))
        file.flush()
        os.fsync(file.fileno())


def _encodings(schema: pa.Schema) -> dict[str, Any]:
    """Whole numbers and times as differences, texts and flags by dictionary: half of what dictionaries alone take.

    Floats are as they are: few of them repeat, and looking for those took longer than all the rest of a row.
    """
    counted = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)]
    repeated = [field.name for field in schema if field.name not in counted and not pa.types.is_floating(field.type)]
    return {
        "use_dictionary": repeated,
        "column_encoding": dict.fromkeys(counted, "DELTA_BINARY_PACKED"),
    }


def read_segment(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Rows of one segment.

    Raises:
        IntegrityError: the file is no whole Parquet file.
    """
    try:
        # Without partitioning=None the folder's name would become a column.
        return pq.read_table(path, columns=columns, partitioning=None)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(
            f"segment {path} cannot be read: {error}", hint="restore it from a copy, or rebuild it from the topic"
        ) from error


def segments(folder: Path) -> list[Segment]:
    """Segments of one partition folder that count, in offset order; empty when the folder is absent."""
    listed = list_files(folder)
    # A listing made while files are swapped may lack both the new one and an old one. The next one has the new one,
    # so two equal ones in a row are right.
    while (again := list_files(folder)) != listed:
        listed = again
    hidden = set(covered(listed))
    return [segment for segment in listed if segment not in hidden]


def covered(files: Iterable[Segment]) -> list[Segment]:
    """Those of one folder that do not count, because the offsets of another one include theirs."""
    found, largest = [], None
    # Of files with the same start the largest comes first, so whoever covers a file has been seen before it.
    for segment in sorted(files, key=lambda segment: (segment.first, -segment.last)):
        if largest is not None and segment.last <= largest.last:
            found.append(segment)
        else:
            largest = segment
    return found


def segments_below(folder: Path) -> list[Segment]:
    """Segments of every partition of a log, by partition number and offset."""
    numbered = {path: path.name.partition("=")[2] for path in folder.glob("partition=*")}
    partitions = sorted((int(number), path) for path, number in numbered.items() if number.isdigit())
    return [segment for _, path in partitions for segment in segments(path)]


def end_offset(folder: Path) -> int:
    """The offset after the newest one on disk; 0 for an empty folder."""
    return max((segment.last + 1 for segment in list_files(folder)), default=0)


def unfinished_by(path: Path) -> int:
    """The writer's number in the name of an unfinished segment; 0 when there is none."""
    match = _WRITER.search(path.name)
    return int(match[1]) if match else 0


def drop_from(folder: Path, first_offset: int, *, may_remove: Callable[[Path], bool] = lambda _: True) -> int:
    """Remove what a crashed writer left: unfinished files, and segments at or beyond ``first_offset``.

    Args:
        folder: partition folder.
        first_offset: where the writer begins again.
        may_remove: whether a file is its to remove; others are passed over.

    Returns:
        How many segments were removed.

    Raises:
        IntegrityError: a segment holds offsets on both sides, so that the log and the snapshot do not belong together.
    """
    beyond = [segment for segment in list_files(folder) if segment.last >= first_offset and may_remove(segment.path)]
    for segment in beyond:
        if segment.first < first_offset:
            raise IntegrityError(
                f"segment {segment.path} reaches over offset {first_offset}, from which the state restarts",
                hint="state and offline log are of different runs; restore both, or remove both and replay the topic",
            )
    if not folder.is_dir():
        return 0
    for path in folder.glob(f".*{_UNFINISHED}"):
        if may_remove(path):
            path.unlink(missing_ok=True)
    # Newest first: a crash in the middle leaves a log without a hole.
    for segment in reversed(beyond):
        segment.path.unlink(missing_ok=True)
    sync_folder(folder)
    return len(beyond)


def list_files(folder: Path) -> list[Segment]:
    """Every segment file of a partition folder in offset order, whether it counts or not."""
    return sorted(
        _parse(folder.iterdir() if folder.is_dir() else ()), key=lambda segment: (segment.first, segment.last)
    )


def _parse(paths: Iterable[Path]) -> Iterator[Segment]:
    for path in paths:
        match = _NAME.fullmatch(path.name)
        if match:
            yield Segment(path=path, first=int(match[1]), last=int(match[2]))


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(target: Path, error: OSError) -> HeadraceError:
    """What to raise when a segment cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HeadraceError(
            f"the disk of {target.parent} is full; segment {target.name} was not written",
            hint="free space and start again: everything since the last snapshot is replayed",
        )
    return HeadraceError(f"segment {target} cannot be written: {error}", hint="check the folder's owner and rights")
