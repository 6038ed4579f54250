"""The online store emptied, and killed: the stream gives it every live row again, and goes on."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis

from headrace.config import Settings
from headrace.contracts.redis_keys import rows_key
from headrace.local.stack import EmbeddedStack
from headrace.spec.project import Project
from streams.progress import wait_applied
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.stream_world import Traffic, make_project, make_traffic, online_values, publish


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Of its own: others would miss what is lost here."""
    own = EmbeddedStack(tmp_path_factory.mktemp("lost"))
    try:
        own.up()
        yield own
    finally:
        own.down()


@pytest.fixture
def shop(servers: EmbeddedStack, tmp_path: Path) -> Iterator[tuple[Settings, Project, Traffic, StreamWorker]]:
    settings, project, traffic = servers.up(), make_project(tmp_path / "lost_shop", "lost"), make_traffic(2_000, seed=8)
    ends = publish(settings, project, traffic)
    worker = StreamWorker(settings, project)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_applied(settings, project, offsets=ends, timeout_s=60)
        # The last word of every partition: until it rests, event time waits for it and rows may still move.
        newest_us = max(row["us"] for row in traffic.clean.values())
        wait_applied(settings, project, watermark_us=newest_us, timeout_s=60)
        yield settings, project, traffic, worker
    finally:
        worker.stop()
        thread.join(60)


def rows(settings: Settings, project: Project, traffic: Traffic) -> dict[str, np.ndarray]:
    """Stored values of every key, by view; zeros where a key has no events in any window, or no row."""
    found = {}
    for view in project.views:
        keys = sorted({row[view.entity] for row in traffic.clean.values()})
        found[view.name] = np.nan_to_num(online_values(settings, project, view, keys, None))
    return found


def test_every_live_row_comes_back(
    servers: EmbeddedStack, shop: tuple[Settings, Project, Traffic, StreamWorker]
) -> None:
    settings, project, traffic, _ = shop
    client = redis.Redis.from_url(settings.redis.url)
    eventually(lambda: len(client.hgetall(rows_key(project.name))) == 8, what="the markers")
    before = rows(settings, project, traffic)
    assert all(values.any() for values in before.values())

    def is_whole() -> bool:
        after = rows(settings, project, traffic)
        return all(np.array_equal(after[name], values) for name, values in before.items())

    client.flushall()
    assert not is_whole()
    eventually(is_whole, timeout_s=60, what="rows after the store was emptied")

    markers = client.hgetall(rows_key(project.name))
    pid = next(service.pid for service in servers.status().services if service.name == "valkey")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def has_new_markers() -> bool:
        try:
            now = client.hgetall(rows_key(project.name))
            return len(now) == len(markers) and not set(now.values()) & set(markers.values())
        except redis.RedisError:
            return False

    eventually(has_new_markers, timeout_s=60, what="rows written to the server that came back")
    eventually(is_whole, timeout_s=60, what="rows after the store was killed")
    client.close()
