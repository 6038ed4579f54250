"""kill -9 at any instant: the worker that comes back ends where one that never fell ends."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace.config import Settings
from headrace.spec.project import Project
from streams.logs.dead_letters import read_dead_letters
from streams.progress import Progress, wait_applied
from tests.eventually import eventually
from tests.stream_world import REACH, expected_values, feature_log, make_project, make_traffic, online_values, publish

KILLS = 5


@contextmanager
def worker_of(settings: Settings, project: Project, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process with small batches and frequent snapshots, gone at the end."""
    env = {
        **os.environ,
        "HEADRACE_HOME": str(settings.home),
        "HEADRACE_STREAM_BATCH_ROWS": "300",
        "HEADRACE_STREAM_SNAPSHOT_EVERY_S": "0.5",
    }
    env.pop("HEADRACE_TEST_HOME", None)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "run", "stream", "--project", str(project.path)], env=env, stderr=out
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def applied(settings: Settings, project: Project) -> int:
    """Messages the worker has reported as applied by the views, in all."""
    progress = Progress(settings.redis.url, project.name)
    try:
        return sum(report.keyed_offset for report in progress.views())
    finally:
        progress.close()


def run_to_the_end(settings: Settings, project: Project, ends: dict[tuple[str, int], int], log: Path) -> None:
    with worker_of(settings, project, log) as process:

        def alive() -> None:
            assert process.poll() is None, log.read_text()

        wait_applied(settings, project, offsets=ends, durable=True, timeout_s=90, check=alive)
        progress = Progress(settings.redis.url, project.name)
        newest_us = max(source.newest_us for source in progress.sources() if source.topic == project.streams[0].name)
        progress.close()
        wait_applied(settings, project, watermark_us=newest_us, timeout_s=60, check=alive)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


def comparable(log: pa.Table) -> pa.Table:
    """A feature log without what depends on batch borders: ``valid_until`` is what was known when a row was written."""
    return log.drop_columns(["created_timestamp", "version", "valid_until"])


def different(left: pa.Table, right: pa.Table, entity: str) -> list[object]:
    """Rows of one log that are not in the other, by key and time; empty when the logs are equal."""
    if left.equals(right):
        return []
    rows = [{(row[entity], row["event_timestamp"]): row for row in log.to_pylist()} for log in (left, right)]
    names = sorted(rows[0].keys() | rows[1].keys(), key=repr)
    return [(rows[0].get(name), rows[1].get(name)) for name in names if rows[0].get(name) != rows[1].get(name)][:9]


@pytest.mark.slow
def test_a_worker_killed_at_random_ends_like_one_that_never_was(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    stream = fresh_name("kill").replace("_", "-")
    never, often = (make_project(tmp_path / fresh_name(name), stream, more=REACH) for name in ("never", "often"))
    traffic = make_traffic(5_000, seed=11)
    ends = publish(stack, never, traffic)
    run_to_the_end(stack, never, ends, tmp_path / "never.log")

    for goal in sorted(random.Random(3).sample(range(10, applied(stack, never) // 2), KILLS)):
        with worker_of(stack, often, tmp_path / "often.log") as process:
            eventually(
                lambda process=process, goal=goal: process.poll() is not None or applied(stack, often) >= goal,
                timeout_s=60,
                what=f"{goal} messages applied",
            )
            assert process.poll() is None, (tmp_path / "often.log").read_text()
            process.kill()
    run_to_the_end(stack, often, ends, tmp_path / "often.log")

    for view in never.views:
        left, right = (feature_log(stack, project, project.view(view.name)) for project in (never, often))
        assert not different(comparable(left), comparable(right), view.entity)
        keys = sorted({row[view.entity] for row in traffic.clean.values()})
        at_us = max(row["us"] for row in traffic.clean.values())
        expected = expected_values(traffic, view, keys, np.full(len(keys), at_us))
        np.testing.assert_array_equal(online_values(stack, often, often.view(view.name), keys, at_us), expected)
        np.testing.assert_array_equal(online_values(stack, never, view, keys, at_us), expected)
    refused = [message for message in traffic.events if message.reason]
    assert len(list(read_dead_letters(stack, stream))) == len(refused)
    progress = Progress(stack.redis.url, often.name)
    counted = sum(sum(source.dead_letters.values()) for source in progress.sources() if source.topic == stream)
    progress.close()
    assert counted == len(refused)
