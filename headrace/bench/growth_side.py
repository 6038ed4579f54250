"""The state of one view in a process of its own: what an event costs it, or how long it takes to come back.

    python -m headrace.bench.growth_side '{"do": "apply", "keys": 10000, "partitions": 1, "turn": 10000, "cores": [1]}'
    python -m headrace.bench.growth_side '{"do": "restore", "folder": ..., "cores": [1]}'

It prints one JSON line. Times are of the processor, but for a restart, which somebody waits for.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch
from feature_store.state.view_state import ViewState
from headrace.bench.workload import TRANSACTIONS
from headrace.clock import SystemClock
from headrace.spec.aggregations import count, mean
from headrace.spec.features import FeatureView
from streams.snapshots.snapshot_chain import SnapshotChain
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_store import FolderStore
from streams.views.view_group import roomy
from streams.views.view_task import ViewTask
from streams.views.warm_up import warm_up

__all__ = ["apply", "growth_plan", "restore"]

_HISTORY = 4
"""Events of each key before the measurement; none of them leaves a window."""
_FILLED_AT_ONCE = 200_000
"""As many as a worker with a backlog takes in one turn."""
_ROUNDS, _MORE = 20, 2
"""Turns measured, and how many events of a key they may add: then a state is filled anew, so that histories stay short.
"""
_STEP_US = 1_000_000
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that different numbers become different keys."""

I64 = NDArray[np.int64]


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task.pop("cores"))
    plan = growth_plan()
    warm_up(plan)
    report = apply(plan, **task) if task.pop("do") == "apply" else restore(plan, **task)
    report["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(report), flush=True)


def growth_plan() -> ViewPlan:
    """The view whose state grows: six values of a customer."""
    days = ("1d", "7d", "30d")
    features = (*count().over(*days), *mean("tx_amount").over(*days))
    view = FeatureView("growth", entity="customer_id", source=TRANSACTIONS, closed="right", features=features)
    return roomy(compile_view(view))


class _Feed:
    """States of one view, a partition each, and events for them."""

    def __init__(self, plan: ViewPlan, partitions: int) -> None:
        self.states = [ViewState(plan) for _ in range(partitions)]
        self._rng = np.random.default_rng(1)
        self._inputs = len(plan.inputs)
        self._now_us, self._events = 10**15, 0

    def turn(self, numbers: I64) -> float:
        """Seconds of processor that an event of each of these keys takes, rows included."""
        events = len(numbers)
        times_us = self._now_us + np.sort(self._rng.integers(0, _STEP_US, events))
        ids = np.arange(self._events, self._events + events)
        inputs = self._rng.integers(1, 9_999, (self._inputs, events))
        self._now_us += _STEP_US
        self._events += events
        with np.errstate(over="ignore"):
            keys = (numbers.astype(np.uint64) * np.uint64(_SPREAD)).view(np.int64)
        parts = [np.flatnonzero(numbers % len(self.states) == number) for number in range(len(self.states))]
        taken = [(keys[part], times_us[part], ids[part], inputs[:, part]) for part in parts]
        began_s = time.process_time()
        for state, columns in zip(self.states, taken, strict=True):
            state.apply(*columns)
            state.advance(self._now_us)
            state.drain(log=False)
        return time.process_time() - began_s

    def fill(self, keys: int) -> float:
        """Give each key its history; the seconds of all turns."""
        numbers = [np.arange(first, min(keys, first + _FILLED_AT_ONCE)) for first in range(0, keys, _FILLED_AT_ONCE)]
        return sum(self.turn(each) for _ in range(_HISTORY) for each in numbers)

    def choose(self, keys: int, events: int) -> I64:
        """So many different ones of the first ``keys``."""
        return self._rng.choice(keys, events, replace=False)


def apply(plan: ViewPlan, *, keys: int, partitions: int, turn: int, folder: str = "") -> dict[str, Any]:
    """Fill states and measure what further events cost them.

    Args:
        plan: of the view.
        keys: of all states together.
        partitions: how many states.
        turn: events applied at once, of different keys each.
        folder: where to leave a snapshot of the first state; nowhere when empty.
    """
    rounds = min(_ROUNDS, max(1, _MORE * keys // turn))
    filled_s: list[float] = []
    seconds: list[float] = []
    while len(seconds) < _ROUNDS:
        feed = _Feed(plan, partitions)
        filled_s.append(feed.fill(keys))
        seconds += [feed.turn(feed.choose(keys, turn)) for _ in range(rounds)]
    report = {
        "per_second": turn / min(seconds),
        "filled_per_second": _HISTORY * keys / min(filled_s),
        "bytes_per_key": sum(state.nbytes for state in feed.states) / keys,
    }
    if folder:
        chain = SnapshotChain(FolderStore(Path(folder)), plan.version)
        state = feed.states[0].take_changes()
        chain.write(Snapshot(offset=1, definition=plan.version, facts={"created_us": 0}, state=state, marks={}))
    return report


class _Nowhere:
    """Takes no rows: a task that only restores gives none."""

    def write(self, plan: ViewPlan, partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None: ...


def restore(plan: ViewPlan, *, folder: str) -> dict[str, Any]:
    """Bring the state of a snapshot back as a worker that starts does, after only reading its bytes."""
    store = FolderStore(Path(folder))
    began_s = time.perf_counter()
    read = sum(len(store.read(name)) for name in store.names())
    read_s = time.perf_counter() - began_s
    online, log_dir = _Nowhere(), Path(folder) / "log"
    before = resource.getrusage(resource.RUSAGE_SELF)
    task = ViewTask(plan, 0, snapshots=store, log_dir=log_dir, online=online, now_us=SystemClock().now_us)
    began_s = time.perf_counter()
    task.restore()
    seconds, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "own_s": after.ru_utime - before.ru_utime,
        "kernel_s": after.ru_stime - before.ru_stime,
        "read_s": read_s,
        "read_bytes": read,
        "events": task.progress().rows,
    }


if __name__ == "__main__":
    main()
