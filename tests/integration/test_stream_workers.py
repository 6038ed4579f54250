"""Several workers of one project: whatever moves between them, and whoever comes back, nothing differs."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from headrace.config import Settings
from headrace.contracts.redis_keys import ROW_FIELD_PREFIX, STATE_FIELD_PREFIX
from headrace.spec.project import Project
from streams.logs.dead_letters import read_dead_letters
from streams.progress import Progress, wait_applied
from streams.worker_lock import running_workers, stopped_worker
from tests.eventually import eventually
from tests.integration.test_stream_kill import comparable, different
from tests.stream_world import Traffic, expected_values, feature_log, make_project, make_traffic, online_values, publish

EVENTS = 3_000
COMPILED_S = 180.0
"""The first worker of a machine compiles kernels for a minute, beside another test that does the same."""
PLACES = 16
"""Four partitions each of events, labels and two keyed logs."""


class Worker:
    """A worker process with small batches, frequent snapshots and a short session."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self.log = process, log

    def said(self, what: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if what in line]

    def check(self) -> None:
        assert self.process.poll() is None, self.log.read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log.read_text()


@contextmanager
def worker_of(settings: Settings, project: Project, log: Path, *, workers: int = 1) -> Iterator[Worker]:
    env = {
        **os.environ,
        "HEADRACE_HOME": str(settings.home),
        "HEADRACE_STREAM_BATCH_ROWS": "300",
        "HEADRACE_STREAM_SNAPSHOT_EVERY_S": "0.5",
        "HEADRACE_STREAM_SESSION_TIMEOUT_S": "1.5",
        "HEADRACE_STREAM_WORKERS": str(workers),
    }
    env.pop("HEADRACE_TEST_HOME", None)
    command = [sys.executable, "-m", "headrace", "run", "stream", "--project", str(project.path)]
    with log.open("ab") as out:
        process = subprocess.Popen(command, env=env, stderr=out)
    try:
        yield Worker(process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def portions(traffic: Traffic, count: int) -> list[Traffic]:
    """The messages in parts, by arrival."""
    starts = np.quantile([message.arrival_us for message in traffic.events], np.linspace(0, 1, count + 1))
    starts[0], starts[-1] = -np.inf, np.inf
    return [
        Traffic(
            events=[message for message in traffic.events if low <= message.arrival_us < high],
            labels=[message for message in traffic.labels if low <= message.arrival_us < high],
        )
        for low, high in pairwise(starts)
    ]


def finish(settings: Settings, project: Project, ends: dict[tuple[str, int], int], workers: list[Worker]) -> None:
    """Wait until everything is applied, durable and at rest, then stop the workers."""

    def alive() -> None:
        for worker in workers:
            worker.check()

    wait_applied(settings, project, offsets=ends, durable=True, timeout_s=90, check=alive)
    progress = Progress(settings.redis.url, project.name)
    newest_us = max(source.newest_us for source in progress.sources() if source.topic == project.streams[0].name)
    progress.close()
    wait_applied(settings, project, watermark_us=newest_us, timeout_s=60, check=alive)
    for worker in workers:
        worker.stop()


def stored(settings: Settings, project: Project) -> dict[bytes, dict[bytes, bytes]]:
    """What Feast's clients find online: the bytes of every field but our own, by entity key."""
    client = redis.Redis.from_url(settings.redis.url)
    rows = {}
    for key in client.scan_iter(match=f"*{project.name}", count=10_000):
        if client.type(key) == b"hash" and not key.startswith(b"headrace:"):
            fields = client.hgetall(key)
            rows[key.replace(project.name.encode(), b"")] = {
                name: value
                for name, value in fields.items()
                if not name.startswith((ROW_FIELD_PREFIX, STATE_FIELD_PREFIX))
            }
    client.close()
    return rows


def assert_same(settings: Settings, calm: Project, moved: Project, traffic: Traffic) -> None:
    """Both stores, the dead letters and their counts are those of one worker that nothing happened to."""
    for view in calm.views:
        left, right = (feature_log(settings, project, project.view(view.name)) for project in (calm, moved))
        assert not different(comparable(left), comparable(right), view.entity)
        keys = sorted({row[view.entity] for row in traffic.clean.values()})
        at_us = max(row["us"] for row in traffic.clean.values())
        expected = expected_values(traffic, view, keys, np.full(len(keys), at_us))
        np.testing.assert_array_equal(online_values(settings, moved, moved.view(view.name), keys, at_us), expected)
    one, several = stored(settings, calm), stored(settings, moved)
    assert one.keys() == several.keys()
    assert one
    assert [key for key in one if one[key] != several[key]] == []
    refused = sum(bool(message.reason) for message in traffic.events)
    stream = moved.streams[0].name
    assert len(list(read_dead_letters(settings, stream))) == refused
    progress = Progress(settings.redis.url, moved.name)
    counted = sum(sum(source.dead_letters.values()) for source in progress.sources() if source.topic == stream)
    progress.close()
    assert counted == refused


@pytest.fixture
def world(stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path) -> tuple[Project, Project, Traffic]:
    stream = fresh_name("workers").replace("_", "-")
    calm, moved = (make_project(tmp_path / fresh_name(name), stream) for name in ("calm", "moved"))
    return calm, moved, make_traffic(EVENTS, seed=23)


def in_calm(settings: Settings, calm: Project, ends: dict[tuple[str, int], int], log: Path) -> None:
    with worker_of(settings, calm, log) as worker:
        finish(settings, calm, ends, [worker])


def applied(settings: Settings, project: Project, ends: dict[tuple[str, int], int], *workers: Worker) -> None:
    def alive() -> None:
        for worker in workers:
            worker.check()

    wait_applied(settings, project, offsets=ends, timeout_s=60, check=alive)


@pytest.mark.slow
def test_one_worker_becomes_three_becomes_two(
    stack: Settings, world: tuple[Project, Project, Traffic], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calm, moved, traffic = world
    parts = iter(portions(traffic, 4))
    ends = publish(stack, moved, next(parts))
    with ExitStack() as running:
        first, second, third = (tmp_path / f"{name}.log" for name in ("first", "second", "third"))
        workers = [running.enter_context(worker_of(stack, moved, first))]
        eventually(
            lambda: len(workers[0].said("partition taken over")) == PLACES,
            timeout_s=COMPILED_S,
            what="the first has everything",
        )
        workers += [running.enter_context(worker_of(stack, moved, log)) for log in (second, third)]
        ends = publish(stack, moved, next(parts))
        for worker in workers[1:]:
            eventually(lambda worker=worker: worker.said("partition taken over"), timeout_s=COMPILED_S, what="a share")
        applied(stack, moved, ends, *workers)
        ends = publish(stack, moved, next(parts))
        workers.pop(0).stop()
        ends = publish(stack, moved, next(parts))
        finish(stack, moved, ends, workers)
    in_calm(stack, calm, ends, tmp_path / "calm.log")

    assert_same(stack, calm, moved, traffic)
    texts = [log.read_text() for log in (first, second, third)]
    pauses = [float(found) for text in texts for found in re.findall(r"paused_s=([\d.]+)", text)]
    with capsys.disabled():
        print(f" {len(pauses)} partitions moved, paused for {min(pauses):.2f} to {max(pauses):.2f} s", end="")


@pytest.mark.slow
def test_a_zombie_comes_back_after_its_partitions_moved(
    stack: Settings, world: tuple[Project, Project, Traffic], tmp_path: Path
) -> None:
    calm, moved, traffic = world
    parts = iter(portions(traffic, 4))
    ends = publish(stack, moved, next(parts))
    with ExitStack() as running:
        zombie = running.enter_context(worker_of(stack, moved, tmp_path / "zombie.log"))
        other = running.enter_context(worker_of(stack, moved, tmp_path / "other.log"))
        for worker in (zombie, other):
            eventually(lambda worker=worker: worker.said("partition taken over"), timeout_s=COMPILED_S, what="a share")
        applied(stack, moved, ends, zombie, other)
        ends = publish(stack, moved, next(parts))
        eventually(lambda: reached(stack, moved, ends) or None, timeout_s=60, what="it is in the middle")

        zombie.process.send_signal(signal.SIGSTOP)
        try:
            ends = publish(stack, moved, next(parts))
            applied(stack, moved, ends, other)
        finally:
            zombie.process.send_signal(signal.SIGCONT)
        eventually(lambda: zombie.said("fenced"), timeout_s=60, what="the zombie knows")
        ends = publish(stack, moved, next(parts))
        finish(stack, moved, ends, [zombie, other])
    in_calm(stack, calm, ends, tmp_path / "calm.log")

    assert_same(stack, calm, moved, traffic)


def reached(settings: Settings, project: Project, ends: dict[tuple[str, int], int]) -> bool:
    """Whether some of the messages up to these ends have been applied."""
    progress = Progress(settings.redis.url, project.name)
    try:
        best = max(sum(report.sources.values()) for report in progress.views())
    finally:
        progress.close()
    return best > sum(ends.values()) // 3


def counted(settings: Settings, project: Project, *expected: float) -> bool:
    """Partitions of both groups, dead letters and lag, by the pages that `headrace status` shows."""
    pages = [worker.metrics for worker in running_workers(settings) if worker.project == project.name]
    found: Counter[tuple[str, str]] = Counter()
    for page in pages:
        with urllib.request.urlopen(page, timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name, sample.labels.get("group", "")] += sample.value
    owned = "headrace_stream_partitions"
    dead, lag = found["headrace_stream_dead_letters_total", ""], found["headrace_stream_lag_messages", ""]
    assert (len(pages), found[owned, "sources"], found[owned, "views"], dead, lag) == (2, *expected)
    return True


@pytest.mark.slow
def test_one_command_keeps_as_many_workers_as_the_settings_say(
    stack: Settings, world: tuple[Project, Project, Traffic], tmp_path: Path
) -> None:
    _, project, traffic = world
    ends = publish(stack, project, traffic)
    with worker_of(stack, project, tmp_path / "pool.log", workers=2) as pool:
        eventually(lambda: len(pool.said("stream started")) == 2, timeout_s=COMPILED_S, what="two workers")
        pids = [child.pid for child in psutil.Process(pool.process.pid).children()]
        assert len(pids) == 2

        os.kill(pids[0], signal.SIGKILL)
        eventually(lambda: len(pool.said("stream started")) == 3, timeout_s=60, what="the killed one starts again")
        applied(stack, project, ends, pool)
        refused = sum(bool(message.reason) for message in (*traffic.events, *traffic.labels))
        eventually(lambda: counted(stack, project, 8, 8, refused, 0), timeout_s=60, what="what both count")
        finish(stack, project, ends, [pool])

    assert not any(map(psutil.pid_exists, pids))
    assert len(pool.said("stream stopped")) == 2
    with stopped_worker(stack, project.name):
        pass  # the killed one's place was taken and left saved
