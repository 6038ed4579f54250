"""What a notebook hands over: tables and keys of any kind, made Arrow tables and lists of one type."""

import math
import operator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from headrace.cli.parquet_input import read_parquet
from headrace.errors import ConfigError, RejectedError

__all__ = ["keys_of", "table_of"]


def table_of(given: Any) -> pa.Table:
    """An Arrow table, of an Arrow table, a pandas frame, a DuckDB relation, or the path of a Parquet file.

    Raises:
        ConfigError: it is none of these, or cannot be read.
    """
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, str | Path):
        return read_parquet(Path(given))
    try:
        if isinstance(given, duckdb.DuckDBPyRelation):
            return given.to_arrow_table()
        return pa.Table.from_pandas(given, preserve_index=False)
    except (AttributeError, TypeError, pa.ArrowException, duckdb.Error) as error:
        raise ConfigError(
            f"{type(given).__name__} is no table: {error}", hint="give Arrow, pandas, a DuckDB relation or a path"
        ) from error


def keys_of(entity: str, given: Any, *, text: bool) -> list[int | str]:
    """Keys of one entity: of a list, a column of any kind, or one key by itself.

    >>> keys_of("card", 7, text=False), keys_of("shop", ["a", "b"], text=True)
    ([7], ['a', 'b'])

    Raises:
        RejectedError: a key is null or of the wrong type.
    """
    if isinstance(given, pa.Array | pa.ChunkedArray):
        keys = given.to_pylist()
    elif isinstance(given, str | bytes) or not hasattr(given, "__iter__") or getattr(given, "ndim", 1) == 0:
        keys = [given]
    else:
        keys = list(given)
    return [_key(entity, key, place, text=text) for place, key in enumerate(keys)]


def _key(entity: str, key: Any, place: int, *, text: bool) -> int | str:
    if _is_null(key):
        raise RejectedError(f"key {place} of {entity!r} is null", hint="leave out rows without a key")
    if text and isinstance(key, str):
        return str(key)
    if not text and not isinstance(key, bool) and hasattr(key, "__index__"):
        try:
            whole = operator.index(key)
        except TypeError:  # numpy's truth values and arrays have it, and refuse
            whole = 2**63
        if -(2**63) <= whole < 2**63:
            return whole
    raise RejectedError(
        f"key {place} of {entity!r} is {key!r}", hint=f"its keys are {'texts' if text else 'integers of 64 bits'}"
    )


def _is_null(key: Any) -> bool:
    """None, the NaN of a float column, or pandas' NA, which is no number and knows no comparison."""
    return key is None or (isinstance(key, float) and math.isnan(key)) or type(key).__name__ in ("NAType", "NaTType")
