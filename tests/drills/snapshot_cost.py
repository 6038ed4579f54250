"""What a snapshot costs against how many keys changed since the one before.

    python -m tests.drills.snapshot_cost --keys 1000000

Prints CPU time on the stream's thread (taking) and on the one that saves, bytes written, and the time of a restart.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import headrace as hr
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from streams.snapshots.snapshot_chain import SnapshotChain
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_store import FolderStore

_HISTORY = 10
"""Events of each key before the measurement."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    keys = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as folder:
        _measure(keys, Path(folder))


def _measure(keys: int, folder: Path) -> None:
    stream = hr.EventStream(
        "sales", key="card", time="at", id="sale", schema={"card": hr.Int64, "eur": hr.Float64(resolution=0.01)}
    )
    features = [*hr.count().over("1d", "30d"), *hr.mean("eur").over("1d", "30d")]
    plan = compile_view(hr.FeatureView("card_use", entity="card", source=stream, features=features))
    state, rng, now_us, next_id = ViewState(plan), np.random.default_rng(1), 10**15, 0

    def feed(touched: np.ndarray) -> None:
        nonlocal now_us, next_id
        now_us += 60_000_000
        ids = np.arange(next_id, next_id + len(touched))
        next_id += len(touched)
        times_us = now_us - rng.integers(0, 30_000_000, len(touched))
        inputs = rng.integers(1, 9_999, (len(plan.inputs), len(touched)))
        state.apply(touched, times_us, ids, inputs)
        state.advance(now_us)
        state.drain(log=False)

    for _ in range(_HISTORY):
        feed(rng.permutation(keys))
    chain = SnapshotChain(FolderStore(folder), plan.version)
    print(f"{keys:,} keys, {_HISTORY} events each, state {state.nbytes / 1e6:.0f} MB in memory")
    whole_ms, _ = _timed(state.snapshot)
    print(f"{'a copy of the whole state, as before':42} taking {whole_ms:8.1f} ms")
    print(f"{'keys touched':>42} {'taking ms':>10} {'saving ms':>10} {'MB':>8}  file")
    for number, touched in enumerate((keys, 0, *(t for t in (100, 1_000, 10_000, 100_000, 300_000) if t <= keys))):
        feed(rng.choice(keys, touched, replace=False))
        before = set(folder.iterdir())
        took_ms, changes = _timed(state.take_changes)
        snapshot = Snapshot(offset=number, definition=plan.version, facts={"created_us": 0}, state=changes, marks={})
        saved_ms, _ = _timed(lambda snapshot=snapshot: chain.write(snapshot))
        (new,) = set(folder.iterdir()) - before
        print(f"{touched:42,} {took_ms:10.1f} {saved_ms:10.1f} {new.stat().st_size / 1e6:8.2f}  {new.suffix[1:]}")
    expected = state.snapshot()
    read_ms, restored = _timed(SnapshotChain(FolderStore(folder), plan.version).restore)
    load_ms, again = _timed(lambda: ViewState.restore(plan, dict(restored.state)))
    assert all(array.tobytes() == again.snapshot()[name].tobytes() for name, array in expected.items())
    print(f"restart: {read_ms:.0f} ms to read, check and put together, {load_ms:.0f} ms to load")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start_s = time.process_time()
    result = work()
    return (time.process_time() - start_s) * 1000, result


if __name__ == "__main__":
    main()
