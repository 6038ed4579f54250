"""A peer in a process of its own, so that it has one thread, its memory and no warm caches of ours.

    python -m headrace.bench.peer_side '{"peer": "polars", "events": "e.parquet", "cores": [1]}'

It prints one JSON line: the best of three runs in seconds, and a checksum to compare with.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.bench.workload import DAYS

__all__: list[str] = []


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    run = {"polars": _polars, "duckdb": _duckdb}[task["peer"]](task)
    run()
    seconds = []
    checksum = 0.0
    for _ in range(3):
        began = time.perf_counter()
        checksum = run()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": min(seconds), "checksum": checksum}))


def _polars(task: dict[str, Any]) -> Callable[[], float]:
    """Every feature of every event by polars' own rolling aggregations."""
    import polars as pl

    frame = pl.from_arrow(pq.read_table(task["events"]))
    assert isinstance(frame, pl.DataFrame)
    frame = frame.with_columns(pl.col("tx_datetime").cast(pl.Datetime("us")), one=pl.lit(1))
    wanted = []
    for key in ("customer_id", "terminal_id"):
        for days in DAYS:
            length = f"{days}d"
            for column, name in (("one", "count"), ("tx_amount", "mean")):
                rolled = getattr(pl.col(column), f"rolling_{'sum' if name == 'count' else 'mean'}_by")(
                    "tx_datetime", window_size=length, closed="right"
                )
                wanted.append(rolled.over(key).alias(f"{key}_{name}_{length}"))

    def run() -> float:
        found = frame.select(wanted)
        return float(found.select(pl.sum_horizontal(pl.selectors.contains("count")).sum()).item())

    return run


def _duckdb(task: dict[str, Any]) -> Callable[[], float]:
    """The features of the chosen events by window functions over all of them."""
    import duckdb

    connection = duckdb.connect(config={"threads": len(task["cores"])})
    connection.execute("CREATE TABLE events AS SELECT * FROM read_parquet(?)", [task["events"]])
    connection.execute("CREATE TABLE chosen AS SELECT * FROM read_parquet(?)", [task["chosen"]])
    columns = []
    for key in ("customer_id", "terminal_id"):
        for days in DAYS:
            window = (
                f"OVER (PARTITION BY {key} ORDER BY tx_datetime RANGE BETWEEN"
                f" to_microseconds({days * 86_400_000_000 - 1}) PRECEDING AND CURRENT ROW)"
            )
            columns.append(f"count(*) {window} AS {key}_count_{days}")
            columns.append(f"avg(tx_amount) {window} AS {key}_mean_{days}")
    made = f"SELECT transaction_id, {', '.join(columns)} FROM events"  # noqa: S608  # made of constants
    query = f"WITH made AS ({made}) SELECT * FROM made SEMI JOIN chosen USING (transaction_id)"  # noqa: S608  # as above

    def run() -> float:
        found = connection.execute(query).to_arrow_table()
        return float(sum(pc.sum(found[name]).as_py() for name in found.column_names if "_count_" in name))

    return run


if __name__ == "__main__":
    main()
