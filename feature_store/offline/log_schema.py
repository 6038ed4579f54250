"""How columns of a log may change over time: a nullable field more, or a wider number; nothing else.

Files written before the change stay as they are and are read as if they had been written today:

    declared now      in an old file
    nullable field    absent             read as null
    int64             int8, int16, int32 read as int64
    float64           float32            read as float64
    anything else     anything else      refused: a renamed field would silently become null, an Int64 that is now a
                                         Float64 would mean other sums for old rows than for new ones
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.offline.offline_log import segments_below
from headrace.errors import ConfigError, IntegrityError
from headrace.spec.streams import PLACE_ID

__all__ = ["check_newest", "check_schema", "conform"]

_WIDER = {pa.int64(): (pa.int8(), pa.int16(), pa.int32()), pa.float64(): (pa.float32(),)}


def check_schema(found: pa.Schema, wanted: pa.Schema, path: Path) -> None:
    """Check that a file can be read with the columns that are declared now.

    Args:
        found: columns of the file.
        wanted: columns declared now.
        path: the file, for the message.

    Raises:
        ConfigError: it cannot; names the field, the file and the way out.
    """
    gone = [name for name in found.names if name not in wanted.names]
    for field in wanted:
        if field.name not in found.names:
            if not field.nullable:
                raise ConfigError(
                    f"field {field.name!r} is declared, and {path} was written without it",
                    hint="a stream that gets an id, or loses it, has a new name"
                    if PLACE_ID in (field.name, *gone)
                    else "declare it nullable=True: what was written before it existed is null",
                )
            continue
        kind = found.field(field.name).type
        if kind != field.type and kind not in _WIDER.get(field.type, ()):
            raise ConfigError(
                f"field {field.name!r} is declared {field.type}, and {path} holds {kind}",
                hint="only int32 to int64 and float to double can be read across;"
                " give the changed field, or the stream, a new name",
            )
    if gone:
        raise ConfigError(
            f"field {gone[0]!r} stands in {path} and is no longer declared",
            hint="declare it again, nullable=True if it is no longer sent;"
            " a renamed field is a new one beside it, and a stream without it has a new name",
        )


def conform(table: pa.Table, wanted: pa.Schema, path: Path) -> pa.Table:
    """Rows of a file with the columns declared now, in their order.

    Raises:
        ConfigError: see :func:`check_schema`; or a field that may not be null is.
    """
    check_schema(table.schema, wanted, path)
    columns = []
    for field in wanted:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table[field.name]
        if column.null_count and not field.nullable:
            raise ConfigError(
                f"field {field.name!r} is declared without nulls, and {path} holds {column.null_count}",
                hint="declare it nullable=True",
            )
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=wanted)


def check_newest(folder: Path, wanted: pa.Schema) -> None:
    """Check a declaration against the newest file of each partition of a log, before more is written.

    Raises:
        ConfigError: see :func:`check_schema`.
        IntegrityError: the file is no whole Parquet file.
    """
    newest = {segment.path.parent: segment.path for segment in segments_below(folder)}
    for path in newest.values():
        try:
            found = pq.read_schema(path)
        except FileNotFoundError:
            continue  # compacted or erased meanwhile: its rows stand in a file like it
        except (pa.ArrowException, OSError) as error:
            raise IntegrityError(f"segment {path} cannot be read: {error}", hint="restore it from a copy") from error
        check_schema(found, wanted, path)
