"""Features over files: every event's (backfill), and those of a training set's rows; one core each, beside peers.

The peers compute the same numbers in a process of their own on the same core; sums of their counts must agree.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.compute import features_at
from feature_store.event_columns import EventColumns, event_columns
from feature_store.plan import ViewPlan, compile_view
from headrace.bench.cores import describe_machine, split_cores, wait_for_quiet
from headrace.bench.row import BenchRow
from headrace.bench.workload import CUSTOMERS, TERMINALS, make_events
from headrace.errors import IntegrityError

__all__ = ["run_backfill", "run_dataset"]

_EVENTS, _SPINE = 1_750_000, 1_000_000
_COUNTS = 3
"""The first features of each view are its counts."""
_TIMEOUT_S = 600
Say = Callable[[str], None]


def run_backfill(say: Say) -> tuple[list[BenchRow], str]:
    """Twelve features of each of 1.75 million events, and the machine."""
    core = split_cores()[1]
    say("making events")
    events = make_events(_EVENTS)
    machine = _quiet(say)
    os.sched_setaffinity(0, core)
    seconds, checksum = _best(_columns(events), None, say)
    say("polars")
    peer = _peer({"peer": "polars", "cores": sorted(core)}, events, None)
    _agree(checksum, peer["checksum"], "polars")
    rate, peer_rate = _EVENTS / seconds, _EVENTS / peer["seconds"]
    row = BenchRow(name="backfill", value=rate, unit="events/s/core", goal=5e6, peer="polars", peer_value=peer_rate)
    return [row], machine


def run_dataset(say: Say) -> tuple[list[BenchRow], str]:
    """Twelve features of a million rows of a training set from 1.75 million raw events, and the machine."""
    core = split_cores()[1]
    say("making events")
    events = make_events(_EVENTS)
    chosen = np.sort(np.random.default_rng(0).choice(_EVENTS, _SPINE, replace=False))
    machine = _quiet(say)
    os.sched_setaffinity(0, core)
    seconds, checksum = _best(_columns(events), chosen, say)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    say("duckdb")
    peer = _peer({"peer": "duckdb", "cores": sorted(core)}, events, events.take(pa.array(chosen)))
    _agree(checksum, peer["checksum"], "DuckDB")
    row = BenchRow(
        name="dataset --from-events",
        value=seconds,
        unit="s for 1 M rows",
        goal=0.5,
        peer="duckdb",
        peer_value=peer["seconds"],
        less_is_better=True,
        note=f"process peak {peak_gb:.2f} GiB",
    )
    return [row], machine


def _columns(events: pa.Table) -> list[tuple[ViewPlan, EventColumns]]:
    plans = [compile_view(view) for view in (CUSTOMERS, TERMINALS)]
    return [(plan, event_columns(plan, events)) for plan in plans]


def _best(views: list[tuple[ViewPlan, EventColumns]], chosen: Any, say: Say) -> tuple[float, float]:
    """Best time of four, the first of which compiles; and the sum of all counts."""
    say("headrace")
    seconds, checksum = [], 0.0
    for _ in range(4):
        began = time.perf_counter()
        found = [_answer(plan, columns, chosen) for plan, columns in views]
        seconds.append(time.perf_counter() - began)
        checksum = float(sum(values[:, :_COUNTS].sum() for values in found))
    return min(seconds), checksum


def _answer(plan: ViewPlan, columns: EventColumns, chosen: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    if chosen is None:
        return features_at(plan, columns, columns.keys, columns.times_us, own_ids=columns.ids, mode="as_served")
    return features_at(plan, columns, columns.keys[chosen], columns.times_us[chosen])


def _peer(task: dict[str, Any], events: pa.Table, chosen: pa.Table | None) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        task["events"] = str(Path(folder) / "events.parquet")
        pq.write_table(events, task["events"])
        if chosen is not None:
            task["chosen"] = str(Path(folder) / "chosen.parquet")
            pq.write_table(chosen, task["chosen"])
        command = [sys.executable, "-m", "headrace.bench.peer_side", json.dumps(task)]
        environment = {**os.environ, "POLARS_MAX_THREADS": "1"}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=environment, timeout=_TIMEOUT_S, check=True
        )
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return report


def _agree(ours: float, theirs: float, peer: str) -> None:
    if ours != theirs:
        raise IntegrityError(f"the counts of headrace add up to {ours:,.0f}, those of {peer} to {theirs:,.0f}")


def _quiet(say: Say) -> str:
    """The machine, once it has nothing else to do."""
    say("waiting for quiet cores")
    return describe_machine(wait_for_quiet())
