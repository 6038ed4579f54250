"""A training set from stored features: rows of a spine joined, as of their instants, with a feature table.

Read time is in it, as is everything Feast does around the join. All sides have every core; counts must agree.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.compute import features_at
from feature_store.definitions.feast_registry import FeastRegistry
from feature_store.event_columns import event_columns
from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import TIMESTAMP, feature_table
from feature_store.plan import NEVER_US, compile_view
from feature_store.rows import RowBatch
from headrace.bench.cores import describe_machine, wait_for_quiet
from headrace.bench.row import BenchRow
from headrace.bench.workload import CUSTOMERS, TERMINALS, make_events, make_project
from headrace.config import load_settings
from headrace.errors import HeadraceError, IntegrityError

__all__ = ["run_tables"]

_EVENTS = 1_750_000
_SIZES = ((100_000, 0.2), (1_000_000, 0.35))
"""Rows of the spine, and the goal in seconds."""
_MOST_BYTES = 12 * 2**30
"""What Feast may take; it keeps every earlier row of the key for each row of the spine."""
_TIMEOUT_S = 600
Say = Callable[[str], None]


def run_tables(say: Say) -> tuple[list[BenchRow], str]:
    """Twelve stored features of 100,000 and of a million rows, and the machine."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        home = Path(folder)
        say("making events and their feature rows")
        events = make_events(_EVENTS)
        _write_logs(home, events)
        rows: list[BenchRow] = []
        say("waiting for quiet cores")
        machine = describe_machine(wait_for_quiet())
        for size, goal in _SIZES:
            spine = _spine(home, events, size)
            say(f"headrace, {size:,} rows")
            ours = _run("headrace", home, spine)
            if "failed" in ours:
                raise HeadraceError(f"the join failed: {ours['failed']}", hint="run headrace.bench.table_side by hand")
            rows += _beside(ours, home, spine, size, goal, say)
    return rows, machine


def _beside(ours: dict[str, Any], home: Path, spine: Path, size: int, goal: float, say: Say) -> list[BenchRow]:
    """A row for each peer that ends; what became of the other stands in the note."""
    rows, notes = [], [f"process peak {ours['peak_gib']:.2f} GiB"]
    for peer in ("feast", "duckdb"):
        say(f"{peer}, {size:,} rows")
        theirs = _run(peer, home, spine)
        if "failed" in theirs:
            notes.append(f"{peer} fails with {_MOST_BYTES / 2**30:.0f} GiB")
            continue
        if theirs["checksum"] != ours["checksum"]:
            raise IntegrityError(
                f"counts of headrace add up to {ours['checksum']:,.0f}, those of {peer} to {theirs['checksum']:,.0f}"
            )
        rows.append((peer, theirs))
    return [
        BenchRow(
            name=f"dataset, {size:,} rows",
            value=ours["seconds"],
            unit="s",
            goal=goal,
            peer=peer,
            peer_value=theirs["seconds"],
            less_is_better=True,
            note="; ".join([*notes, f"peer's peak {theirs['peak_gib']:.2f} GiB"]),
        )
        for peer, theirs in rows
    ]


def _write_logs(home: Path, events: pa.Table) -> None:
    """The feature log of each view in the order of time, one row for a key and an instant; and the registry."""
    settings, project = load_settings(home), make_project("bench")
    for view in (CUSTOMERS, TERMINALS):
        plan = compile_view(view)
        columns = event_columns(plan, events)
        values = features_at(plan, columns, columns.keys, columns.times_us, own_ids=columns.ids, mode="as_served")
        order = np.lexsort((columns.times_us, columns.keys))
        keys, times = columns.keys[order], columns.times_us[order]
        last = np.append((keys[1:] != keys[:-1]) | (times[1:] != times[:-1]), True)
        kept = np.sort(order[last])
        forever = np.full(len(kept), NEVER_US)
        batch = RowBatch.without_state(plan, columns.keys[kept], columns.times_us[kept], forever, values[kept])
        folder = log_folder(settings.offline_dir, project.name, "features", view.name, 0)
        write_segment(feature_table(plan, batch, created_us=0, version=0), folder, 0, len(kept))
    FeastRegistry(settings, replace(project, path=home)).apply()


def _spine(home: Path, events: pa.Table, size: int) -> Path:
    """Pairs of customer and terminal at instants between events."""
    random = np.random.default_rng(size)
    chosen = events.take(pa.array(random.choice(len(events), size, replace=False)))
    instants = chosen["tx_datetime"].cast(pa.int64()).to_numpy() + random.integers(0, 10**9, size)
    file = home / f"spine-{size}.parquet"
    moments = pa.array(instants, pa.int64()).cast(TIMESTAMP)
    entities = {name: chosen[name] for name in ("customer_id", "terminal_id")}
    pq.write_table(pa.table({**entities, "event_timestamp": moments}), file)
    return file


def _run(side: str, home: Path, spine: Path) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    task: dict[str, Any] = {"side": side, "home": str(home), "spine": str(spine), "cores": cores, "rounds": 4}
    if side == "feast":  # takes seconds, so that what a first run does besides is little
        task |= {"most_bytes": _MOST_BYTES, "rounds": 1}
    command = [sys.executable, "-m", "headrace.bench.table_side", json.dumps(task)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, env=environment, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done in {_TIMEOUT_S} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    report: dict[str, Any] = json.loads(lines[-1]) if lines else {"failed": f"ended with {done.returncode}"}
    return report
