"""The as-of join in SQL: logs of any size and of any types DuckDB knows; also what the join in memory is held to."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["SqlAsOfJoin"]

_ROW, _AT = "_headrace_row", "_headrace_at_us"


class SqlAsOfJoin:
    """Joins one table of questions with any number of logs.

    Args:
        spine: the questions.
        time: column of their instants, timestamps in microseconds.
        memory_limit: beyond it DuckDB works on disk.
    """

    def __init__(self, spine: pa.Table, time: str, memory_limit: str) -> None:
        self._spine, self._time, self._limit = spine, time, memory_limit
        self._spill: Any = None
        self._connection: Any = None

    def __enter__(self) -> "SqlAsOfJoin":
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._spill.cleanup()

    def join(
        self,
        files: Sequence[str],
        *,
        keys: Mapping[str, str],
        time: str,
        created: str | None,
        features: Sequence[str],
        ttl_us: int | None,
    ) -> pa.Table:
        """Features of one log for each question, in the order of the questions.

        Args:
            files: Parquet files of the log.
            keys: its key columns -> those of the questions.
            time: column of event times.
            created: column that decides between rows of one time.
            features: columns wanted.
            ttl_us: age beyond which a row says nothing.
        """
        names, asked = [_quoted(name) for name in keys], [_quoted(name) for name in keys.values()]
        columns = [_quoted(name) for name in features]
        newest = ["_created DESC"] if created else []
        newest += [f"{column} DESC NULLS LAST" for column in columns]
        chosen = [
            f"f.{c}" if ttl_us is None else f"CASE WHEN {_AT} - _at_us <= {ttl_us} THEN f.{c} END AS {c}"
            for c in columns
        ]
        query = f"""
            WITH rows AS (
                SELECT {", ".join(names)}, epoch_us({_quoted(time)}) AS _at_us
                       {f", {_quoted(created)} AS _created" if created else ""}, {", ".join(columns)}
                FROM read_parquet(?, hive_partitioning = false, union_by_name = true)
                WHERE _at_us <= (SELECT max({_AT}) FROM spine)
                  AND ({", ".join(names)}) IN (SELECT ({", ".join(asked)}) FROM spine)
            ), f AS (
                SELECT * FROM rows
                QUALIFY row_number() OVER (PARTITION BY {", ".join(names)}, _at_us ORDER BY {", ".join(newest)}) = 1
            )
            SELECT {", ".join(chosen)}
            FROM spine ASOF LEFT JOIN f
              ON {" AND ".join(f"spine.{a} = f.{k}" for a, k in zip(asked, names, strict=True))} AND {_AT} >= f._at_us
            ORDER BY {_ROW}
        """  # noqa: S608  # names come from the registry and are quoted
        return self._open().execute(query, [list(files)]).to_arrow_table()

    def _open(self) -> Any:
        """The database, made with the first join: most logs are joined in memory."""
        if self._connection is None:
            self._spill = tempfile.TemporaryDirectory(prefix="headrace-join-")
            self._connection = duckdb.connect(config={"memory_limit": self._limit, "temp_directory": self._spill.name})
            asked = self._spine.append_column(_ROW, pa.array(np.arange(self._spine.num_rows)))
            self._connection.register("given", asked.append_column(_AT, pc.cast(self._spine[self._time], pa.int64())))
            # Of a registered table DuckDB does not know the size; it would take it for tiny and join in nested loops.
            self._connection.execute("CREATE TEMP TABLE spine AS SELECT * FROM given")
            self._connection.execute("SET asof_loop_join_threshold = 0")
        return self._connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
