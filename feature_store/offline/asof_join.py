"""Values of a feature log as of given instants, in memory: the newest row of the key that is not later.

    rows of a key   ──●────●●────────●──►  time        ● ● of one time: the newest created counts, and among full ties
    question                    q                          the larger values, column by column
    answer                 ◄────┘

Only the columns asked for are read; keys become small numbers, rows are grouped by key once, each question is one
search. Answers are those of :mod:`feature_store.offline.asof_sql`, which works on disk and takes any type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.kernel_cache import plain
from feature_store.key_codes import number_keys
from feature_store.offline.asof_kernels import ABSENT, group_rows, newest_rows, order_groups
from feature_store.plan import NULL

__all__ = ["AsOfSource", "join_in_memory"]

_TIME_UNITS = (pa.timestamp("us"), pa.timestamp("us", tz="UTC"))
_I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOfSource:
    """A log of features in Parquet files."""

    files: Sequence[str]
    key: str
    """Column of the entity's key."""
    time: str
    created: str | None
    """Column that decides between rows of one time; the newest counts."""
    features: Sequence[str]
    ttl_us: int | None = None
    """Age beyond which a row says nothing."""


def join_in_memory(source: AsOfSource, asked_keys: pa.ChunkedArray, at: pa.ChunkedArray, most_rows: int) -> Any:
    """Columns of the features, one row for each question.

    Args:
        source: where the values are.
        asked_keys: key of each question.
        at: microseconds of each question; null asks for nothing.
        most_rows: of a larger log nothing is read.

    Returns:
        A table, or None: the log is too large, or has types this join does not take.
    """
    metadata = [pq.read_metadata(file) for file in source.files]
    if sum(each.num_rows for each in metadata) > min(most_rows, 2**31 - 1):
        return None
    try:
        schema = pa.unify_schemas([each.schema.to_arrow_schema().remove_metadata() for each in metadata])
    except pa.ArrowInvalid:
        return None
    by = [source.key, source.time, *([source.created] if source.created else [])]
    if not {*by, *source.features} <= set(schema.names) or not _is_taken(schema, source, asked_keys.type):
        return None
    log = ds.dataset(list(source.files), schema=schema, format="parquet")
    # Read in two steps: what rows are found by is let go before the values come.
    rows = _find(source, log, asked_keys, at)
    taken = pa.array(rows, mask=rows == ABSENT)
    stored = log.to_table(columns=list(source.features))
    return pa.table({name: stored[name].combine_chunks().take(taken) for name in source.features})


def _is_taken(schema: pa.Schema, source: AsOfSource, asked: pa.DataType) -> bool:
    """Whether the join knows the types; a log of numbers is asked with numbers."""
    key = schema.field(source.key).type
    is_number = pa.types.is_int64(key) and pa.types.is_integer(asked) and asked != pa.uint64()
    is_text = pa.types.is_string(key) and (pa.types.is_string(asked) or pa.types.is_large_string(asked))
    times = [schema.field(name).type for name in (source.time, source.created) if name]
    return (is_number or is_text) and all(each in _TIME_UNITS for each in times)


def _find(source: AsOfSource, log: ds.Dataset, asked_keys: pa.ChunkedArray, at: pa.ChunkedArray) -> _I64:
    """Row of each question in ``log``."""
    stored = log.to_table(columns=list({source.key, source.time, source.created} - {None}))
    if not stored.num_rows or not len(asked_keys):
        return np.full(len(asked_keys), ABSENT, np.int64)
    asked, codes, groups = _codes(asked_keys, stored[source.key])
    times, nothing = _numbers(stored[source.time])
    created = _numbers(stored[source.created])[0] if source.created else np.zeros(len(times), np.int64)
    del stored
    if nothing is not None:
        codes[nothing] = ABSENT
    instants, unknown = _numbers(at)
    if unknown is not None:
        asked[unknown] = ABSENT
    start, rows, placed = group_rows(codes, groups, times)
    del times, codes
    ties = order_groups(start, rows, placed, created)
    found: _I64 = newest_rows(start, placed, asked, instants, -1 if source.ttl_us is None else source.ttl_us)
    there = found != ABSENT
    if ties.any():
        _settle(source.features, log, rows, ties, found[there])
    found[there] = rows[found[there]]
    return found


def _codes(asked: pa.ChunkedArray, stored: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Keys of both sides as numbers from 0, and how many; ABSENT is a null, or a key nobody asks for."""
    if pa.types.is_integer(asked.type) and not asked.null_count and not stored.null_count:
        return number_keys(_numbers(asked.cast(pa.int64()))[0], _numbers(stored)[0])
    known = pc.unique(asked.cast(stored.type)).drop_null()
    asked_codes, stored_codes = (
        pc.fill_null(pc.index_in(column, value_set=known), ABSENT).combine_chunks().to_numpy(zero_copy_only=False)
        for column in (asked.cast(stored.type), stored)
    )
    # Arrow's own memory cannot be written.
    return asked_codes.astype(np.int32), stored_codes.astype(np.int32), len(known)


def _numbers(column: pa.ChunkedArray) -> tuple[_I64, NDArray[np.bool_] | None]:
    """Whole numbers of a column, times in microseconds, and which are null; nulls are the smallest number."""
    whole = column.cast(pa.int64())
    if not whole.null_count:
        return plain(whole.to_numpy()), None
    nothing = whole.is_null().to_numpy()
    return plain(pc.fill_null(whole, NULL).to_numpy()), nothing


def _settle(
    features: Sequence[str], log: ds.Dataset, rows: NDArray[np.int32], ties: NDArray[np.bool_], found: _I64
) -> None:
    """Put the row with the larger values at the found end of each run of full ties; writes ``rows``."""
    ends = np.unique(found[ties[found]])
    if not len(ends):
        return
    heads = np.flatnonzero(~ties)
    first = heads[np.searchsorted(heads, ends, side="right") - 1]
    sizes = ends - first + 1
    places = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    tied = (
        log.to_table(columns=list(features))
        .take(pa.array(rows[places]))
        .rename_columns([f"c{number}" for number in range(len(features))])
    )
    tied = tied.append_column("run", pa.array(np.repeat(ends, sizes))).append_column("row", pa.array(rows[places]))
    order = ", ".join(f"c{number} DESC NULLS LAST" for number in range(len(features)))
    query = f"SELECT run, row FROM tied QUALIFY row_number() OVER (PARTITION BY run ORDER BY {order}) = 1"  # noqa: S608  # our own names
    with duckdb.connect() as connection:
        connection.register("tied", tied)
        won = connection.execute(query).fetchnumpy()
    rows[won["run"]] = won["row"]
