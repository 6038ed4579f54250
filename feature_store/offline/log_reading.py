"""Reading a whole log while it is written, compacted and cut: every row of one moment once, in today's columns."""

from pathlib import Path

import pyarrow as pa

from feature_store.offline.log_schema import conform
from feature_store.offline.offline_log import read_segment, segments_below
from feature_store.tracking import Track, untracked
from headrace.errors import UnavailableError

__all__ = ["read_log"]

_TRIES = 20
"""A swap of files takes milliseconds and they come minutes apart; more than two tries are a sign of something else."""


def read_log(folder: Path, schema: pa.Schema, track: Track = untracked) -> pa.Table:
    """Rows of every partition of a log, by partition and offset; no rows when there is no log.

    Args:
        folder: the log's folder, above its partitions.
        schema: columns declared now; see :mod:`feature_store.offline.log_schema` for files of older ones.
        track: told of every file.

    Raises:
        ConfigError: a file cannot be read with these columns.
        IntegrityError: a file is no whole Parquet file.
        UnavailableError: files went away while they were read, every time.
    """
    for _ in range(_TRIES):
        found, tables = segments_below(folder), []
        try:
            for number, segment in enumerate(found):
                track(f"files of {folder.name} read", number, len(found))
                tables.append(conform(read_segment(segment.path), schema, segment.path))
        except FileNotFoundError:
            continue  # a listed file was merged into another one; the next listing has that
        return pa.concat_tables(tables).combine_chunks() if tables else schema.empty_table()
    raise UnavailableError(
        f"files of {folder} went away {_TRIES} times while they were read", hint="is something else removing them?"
    )
