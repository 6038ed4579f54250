"""Processes named so that a recycled process id is never mistaken for ours.

A process id alone is not a name: the kernel gives it out again. Together with the start time it is.
Every server is started as the leader of its own session, and its descendants stay in that session;
as long as one of them lives, the kernel does not reuse the session id. So "the leader died, but its
session has members" safely means: these are ours.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["ProcessName", "is_alive", "members", "name_of", "stop"]

_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class ProcessName:
    """A process id and the start time that makes it unique."""

    pid: int
    started: int
    """Clock ticks since boot on Linux, where the wall clock may be set; else hundredths since the epoch."""


def name_of(pid: int) -> ProcessName | None:
    """Name a living process; None when it does not live (a zombie does not)."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        if stat.parent.parent.joinpath("self").exists():
            # The command name may hold spaces and brackets: fields are counted after the last bracket.
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            state, started = fields[0], int(fields[19])
            return None if state in "ZX" else ProcessName(pid, started)
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessName(pid, round(process.create_time() * 100))
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None


def is_alive(process: ProcessName) -> bool:
    """Whether this very process lives."""
    return name_of(process.pid) == process


def members(leader: ProcessName) -> list[int]:
    """Process ids of the living members of the session this leader opened, itself included."""
    current = name_of(leader.pid)
    if current is not None and current != leader:
        return []  # the id was given out again, which proves the old session empty
    found = []
    for pid in psutil.pids():
        try:
            in_session = os.getsid(pid) == leader.pid
        except (ProcessLookupError, PermissionError):
            continue
        if in_session and name_of(pid) is not None:
            found.append(pid)
    return found


def stop(leader: ProcessName, *, within_s: float) -> None:
    """End the session of this leader: ask, wait, then kill. Returns when no member is left."""
    _signal_all(leader, signal.SIGTERM)
    deadline = time.monotonic() + within_s
    while members(leader):
        if time.monotonic() > deadline:
            _signal_all(leader, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def _signal_all(leader: ProcessName, number: signal.Signals) -> None:
    for pid in members(leader):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
