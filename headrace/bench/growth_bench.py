"""What grows with the keys and partitions of a view: the cost of an event, memory, and the time of a restart.

Each state lives in a process of its own on one core. Its keys have four events; then turns of events of different keys
are applied and their rows worked out, as a worker does it between its keyed log and Redis. A turn has as many events as
the fewest keys, so every event gives one row, whatever the number of keys. Of several partitions a turn has as many as
a worker with a backlog takes.
The peer is the smallest of the same run; that of a restart is reading the same files.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from headrace.bench.cores import describe_machine, split_cores, wait_for_quiet
from headrace.bench.row import BenchRow
from headrace.errors import HeadraceError

__all__ = ["KEYS", "run_growth"]

KEYS = 10_000_000
"""Most keys, when nobody says otherwise."""
_STEPS = (1_000, 100, 10, 1)
"""Of the most keys, these parts."""
_PARTITIONS = (1, 4, 16, 64)
_KEYS_OF_PARTITIONS, _TURN_OF_PARTITIONS = 1_000_000, 200_000
_KEPT = 0.8
"""Part of the smallest one's rate that the others are to keep."""
_RESTART_S = 30.0
_MOST_GIB = 16

Say = Callable[[str], None]


def run_growth(say: Say, keys: int = KEYS) -> tuple[list[BenchRow], str]:
    """Rates of growing states, the time of a restart, and the machine.

    Args:
        say: told what is going on.
        keys: of the largest state.
    """
    _, cores = split_cores()
    say("waiting for quiet cores")
    machine = describe_machine(wait_for_quiet())
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        sizes = [max(1, keys // step) for step in _STEPS]
        by_keys = {}
        for size in sizes:
            say(f"{size:,} keys")
            kept = {"folder": folder} if size == keys else {}
            by_keys[size] = _side(cores, do="apply", keys=size, partitions=1, turn=sizes[0], **kept)
        say(f"restart with {keys:,} keys")
        restart = _side(cores, do="restore", folder=folder)
    by_partitions = {}
    few = min(keys, _KEYS_OF_PARTITIONS)
    for number in _PARTITIONS:
        say(f"{number} partitions")
        turn = min(few, _TURN_OF_PARTITIONS)
        by_partitions[number] = _side(cores, do="apply", keys=few, partitions=number, turn=turn)
    rows = [_row("keys", number, by_keys[number], sizes[0], by_keys[sizes[0]]) for number in sizes]
    rows += [_row("partitions", number, by_partitions[number], 1, by_partitions[1]) for number in _PARTITIONS]
    return [*rows, _restart_row(keys, restart)], machine


def _row(what: str, number: int, found: dict[str, Any], least: int, first: dict[str, Any]) -> BenchRow:
    return BenchRow(
        name=f"growth, {number:,} {what if number > 1 else what[:-1]}",
        value=found["per_second"],
        unit="events/s/core",
        goal=_KEPT * first["per_second"],
        peer=f"{least:,} {what if least > 1 else what[:-1]}",
        peer_value=first["per_second"],
        note=f"{found['bytes_per_key']:.0f} bytes a key; {found['peak_gib']:.1f} GiB at most, of {_MOST_GIB}; "
        f"filled at {found['filled_per_second']:,.0f} events/s",
    )


def _restart_row(keys: int, found: dict[str, Any]) -> BenchRow:
    return BenchRow(
        name=f"restart, {keys:,} keys",
        value=found["seconds"],
        unit="s",
        goal=_RESTART_S,
        peer="reading the files",
        peer_value=found["read_s"],
        less_is_better=True,
        note=f"{found['own_s']:.3g} s of processor and {found['kernel_s']:.3g} s of the kernel, which gives memory; "
        f"{found['read_bytes'] / 1e6:,.1f} MB, {found['events']:,} events; {found['peak_gib']:.1f} GiB at most",
    )


def _side(cores: set[int], **task: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "headrace.bench.growth_side", json.dumps({**task, "cores": sorted(cores)})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise HeadraceError("the measured process ended without a result", hint="its error stands above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
