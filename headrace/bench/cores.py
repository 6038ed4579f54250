"""Cores of a benchmark: who runs where, whether anybody else is busy, and what machine this is."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

__all__ = ["describe_machine", "pin", "split_cores", "wait_for_quiet"]

QUIET_CORES = 0.25
"""Foreign load, in cores, that still counts as quiet."""


def split_cores() -> tuple[set[int], set[int]]:
    """(cores of the servers, the one core of what is measured); the same where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:1]), {cores[-1]})


def pin(pids: Iterable[int], cores: set[int]) -> None:
    """Keep processes, with all their threads and children, on some cores."""
    for pid in pids:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            for thread in process.threads():
                os.sched_setaffinity(thread.id, cores)


def wait_for_quiet(patience_s: float = 60.0) -> float:
    """Wait until the machine has nothing else to do; gives the load, in cores, at the end."""
    deadline = time.monotonic() + patience_s
    while True:
        busy: float = psutil.cpu_percent(interval=1.0) / 100 * (psutil.cpu_count() or 1)
        if busy <= QUIET_CORES or time.monotonic() > deadline:
            return busy


def describe_machine(busy: float) -> str:
    """One line; says so when the measurement had company."""
    memory_gib = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    text = f"{cores} cores {_model()}, {memory_gib:.0f} GiB, Python {platform.python_version()}"
    return text if busy <= QUIET_CORES else f"{text}; not quiet: others kept {busy:.1f} cores busy"


def _model() -> str:
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
