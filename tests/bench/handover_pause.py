"""How long a partition stands still when it moves to another worker, and what the others notice.

    python -m tests.bench.handover_pause [keys]

One worker holds the state of so many keys; events trickle in; a second worker joins, then the first leaves. Printed are
the longest times in which a view partition that moved, or one that stayed, took in nothing.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from headrace.config import Settings
from headrace.kafka_clients import end_offsets, ensure_topics
from headrace.kafka_sender import Sender
from headrace.local.stack import EmbeddedStack
from headrace.spec.project import Project, load_project
from streams.progress import Progress, wait_applied
from tests.eventually import eventually

__all__: list[str] = []

DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, count, sum

sales = EventStream(
    "sales", key="card", time="at", id="sale",
    schema={"card": Int64, "eur": Float64(resolution=0.01)}, lateness="1h",
)
card_use = FeatureView(
    "card_use", entity="card", source=sales, features=[count().over("1h", "1d"), sum("eur").over("1h", "1d")],
)
"""
START_US = 1_700_000_000_000_000
TRICKLE_S = 0.005


def main(keys: int) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-handover-") as folder:
        stack = EmbeddedStack(Path(folder) / "home")
        settings = stack.up()
        try:
            _measure(settings, _project(Path(folder) / "handover"), Path(folder), keys)
        finally:
            stack.down()


def _measure(settings: Settings, project: Project, folder: Path, keys: int) -> None:
    ensure_topics(settings, ["sales"])
    sender = Sender(settings)
    events = [_event(number, number, number) for number in range(keys)]
    sender.send_many("sales", events, timestamps_ms=[(START_US + number) // 1000 for number in range(keys)])
    sender.flush()
    with _worker(settings, project, folder / "first.log") as first, _trickle(sender, keys) as told:
        wait_applied(settings, project, offsets=end_offsets(settings, ["sales"]), timeout_s=300)
        with _watched(settings, project) as gaps, _worker(settings, project, folder / "second.log"):
            eventually(lambda: _taken(folder / "second.log"), timeout_s=300, what="a partition is taken over")
            told.wait(5.0)
            _say(f"a second worker joined, {keys:,} keys", gaps, folder / "second.log")
            gaps.clear()
            first.send_signal(signal.SIGTERM)
            first.wait(60)
            told.wait(5.0)
            _say("the first one left", gaps, folder / "second.log")


def _say(what: str, gaps: dict[int, float], log: Path) -> None:
    moved = {line.partition("partition=")[2].split()[0] for line in _taken(log)}
    pauses = [float(line.partition("paused_s=")[2]) for line in _taken(log) if "paused_s=None" not in line]
    every = {str(number): round(gap, 2) for number, gap in sorted(gaps.items())}
    print(f"{what}: longest silence by view partition {every}, s; with the second: {sorted(moved)}; said: {pauses}")


def _taken(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if "view_owner" in line and "taken over" in line]


@contextmanager
def _watched(settings: Settings, project: Project) -> Iterator[dict[int, float]]:
    """Longest time without progress of each view partition."""
    gaps: dict[int, float] = defaultdict(float)
    stop = threading.Event()

    def watch() -> None:
        progress = Progress(settings.redis.url, project.name)
        moved_s: dict[int, float] = {}
        at: dict[int, int] = {}
        while not stop.wait(0.01):
            now_s = time.monotonic()
            for report in progress.views():
                if report.keyed_offset > at.get(report.partition, -2):
                    at[report.partition], moved_s[report.partition] = report.keyed_offset, now_s
                number = report.partition
                gaps[number] = max(gaps[number], now_s - moved_s[number])
        progress.close()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield gaps
    finally:
        stop.set()
        thread.join()


@contextmanager
def _trickle(sender: Sender, keys: int) -> Iterator[threading.Event]:
    """Events of known keys, all the time; gives something to wait with."""
    stop = threading.Event()
    rng = np.random.default_rng(1)

    def send() -> None:
        number = keys
        while not stop.wait(TRICKLE_S):
            for _ in range(4):
                value = _event(number, int(rng.integers(keys)), number)
                sender.send("sales", value, partition=number % 4, timestamp_ms=(START_US + number) // 1000)
                number += 1
            sender.poll()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield threading.Event()
    finally:
        stop.set()
        thread.join()


@contextmanager
def _worker(settings: Settings, project: Project, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "HEADRACE_HOME": str(settings.home)}
    command = [sys.executable, "-m", "headrace", "run", "stream", "--project", str(project.path)]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=env, stderr=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _event(number: int, card: int, offset_us: int) -> bytes:
    return json.dumps({"sale": number, "card": card, "eur": 1.5, "at": START_US + offset_us}).encode()


def _project(folder: Path) -> Project:
    folder.mkdir()
    (folder / "sales.py").write_text(DEFINITIONS, encoding="utf-8")
    return load_project(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
