"""Events through Kafka, in any order and with any garbage: both stores hold what the file engine computes."""

import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from feature_store.offline.event_log import read_events
from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.spec.project import Project
from streams.logs.dead_letters import read_dead_letters
from streams.progress import Progress, wait_applied
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.stream_world import (
    CHOICES,
    Traffic,
    expected_values,
    feature_log,
    log_values,
    make_project,
    make_traffic,
    online_values,
    publish,
)


@dataclass
class Shop:
    """The world after a worker has seen all of its traffic."""

    settings: Settings
    project: Project
    traffic: Traffic
    ends: dict[tuple[str, int], int]

    def watermark_us(self) -> int:
        progress = Progress(self.settings.redis.url, self.project.name)
        try:
            return min(report.watermark_us for report in progress.views())
        finally:
            progress.close()


def is_applied(settings: Settings, project: Project, ends: dict[tuple[str, int], int]) -> bool:
    try:
        wait_applied(settings, project, offsets=ends, timeout_s=0)
    except UnavailableError:
        return False
    return True


@pytest.fixture(scope="module")
def shop(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    name = uuid.uuid4().hex[:8]
    project = make_project(tmp_path_factory.mktemp("projects") / f"exact_{name}", f"sales-{name}", more=CHOICES)
    traffic = make_traffic(6_000, seed=5)
    ends = publish(stack, project, traffic)
    newest_us = max(row["us"] for row in traffic.clean.values())
    worker = StreamWorker(stack, project)

    def seen() -> bool:
        worker.step()
        if not is_applied(stack, project, ends):
            return False
        progress = Progress(stack.redis.url, project.name)
        reached = all(report.watermark_us >= newest_us for report in progress.views())
        progress.close()
        return reached

    eventually(seen, timeout_s=120, what="the worker applies everything")
    worker.stop()
    worker.run()
    return Shop(stack, project, traffic, ends)


def test_the_log_holds_what_was_true_at_every_event(shop: Shop) -> None:
    for view in shop.project.views:
        keys = [row[view.entity] for row in shop.traffic.clean.values()]
        at_us = np.array([row["us"] for row in shop.traffic.clean.values()])

        values, found = log_values(feature_log(shop.settings, shop.project, view), view, keys, at_us)

        expected = expected_values(shop.traffic, view, keys, at_us)
        if view.name == "card_use":
            assert found.all()
        np.testing.assert_array_equal(values[found], expected[found])
        nothing_yet = expected_values(Traffic(), view, keys[:1], at_us[:1])[0]
        np.testing.assert_array_equal(expected[~found], np.broadcast_to(nothing_yet, expected[~found].shape))


def test_the_log_holds_what_was_true_at_any_instant(shop: Shop) -> None:
    rng = np.random.default_rng(1)
    rows = list(shop.traffic.clean.values())
    first_us, last_us = min(row["us"] for row in rows), shop.watermark_us()
    for view in shop.project.views:
        keys = [rows[int(k)][view.entity] for k in rng.integers(0, len(rows), 3_000)]
        at_us = rng.integers(first_us, last_us + 1, 3_000)

        values, found = log_values(feature_log(shop.settings, shop.project, view), view, keys, at_us)

        np.testing.assert_array_equal(values[found], expected_values(shop.traffic, view, keys, at_us)[found])
        assert found.mean() > 0.8


def test_redis_answers_every_key_at_the_watermark(shop: Shop) -> None:
    at_us = shop.watermark_us()
    for view in shop.project.views:
        keys = sorted({row[view.entity] for row in shop.traffic.clean.values()})

        values = online_values(shop.settings, shop.project, view, keys, at_us)

        expected = expected_values(shop.traffic, view, keys, np.full(len(keys), at_us))
        np.testing.assert_array_equal(values, expected)
        stored = online_values(shop.settings, shop.project, view, keys, None)
        np.testing.assert_array_equal(stored, expected)


def test_garbage_is_kept_with_its_reason_and_bytes(shop: Shop) -> None:
    for topic, messages in zip(
        (shop.project.streams[0].name, shop.project.labels[0].name),
        (shop.traffic.events, shop.traffic.labels),
        strict=True,
    ):
        letters = list(read_dead_letters(shop.settings, topic))
        refused = [message for message in messages if message.reason]

        assert Counter(letter.reason for letter in letters) == Counter(message.reason for message in refused)
        assert sorted((letter.partition, letter.value or b"") for letter in letters) == sorted(
            (message.partition, message.value) for message in refused
        )


def test_garbage_is_counted_by_reason(shop: Shop) -> None:
    progress = Progress(shop.settings.redis.url, shop.project.name)
    counted: Counter[str] = Counter()
    for source in progress.sources():
        counted.update(source.dead_letters)
    progress.close()

    messages = [*shop.traffic.events, *shop.traffic.labels]
    assert counted == Counter(message.reason for message in messages if message.reason)


def test_the_event_log_holds_every_event_once_and_marks_the_late(shop: Shop) -> None:
    stream, labels = shop.project.streams[0], shop.project.labels[0]
    events = read_events(shop.settings.offline_dir, shop.project, stream, labels)

    on_time = {row["sale"]: row for row in shop.traffic.clean.values()}
    logged = {row["sale"]: row for row in events.to_pylist()}
    assert logged.keys() >= on_time.keys()
    assert {sale for sale, row in logged.items() if not row["_late"]} == on_time.keys()
    assert {sale: logged[sale]["eur"] for sale in on_time} == {sale: row["eur"] for sale, row in on_time.items()}
    assert {sale: row["fraud"] for sale, row in logged.items() if row["fraud"] is not None} == shop.traffic.outcomes


def test_a_turn_applies_what_it_forwards(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.worker._BACK_S", 60.0)
    name = uuid.uuid4().hex[:8]
    project = make_project(tmp_path / f"turns_{name}", f"sales-{name}")
    worker = StreamWorker(stack, project)
    try:
        taken, step = [0], worker._sources.step
        monkeypatch.setattr(worker._sources, "step", lambda wait_s: taken.append(step(wait_s)) or taken[-1])
        eventually(lambda: not worker.step(), timeout_s=60, what="the worker is idle")
        publish(stack, project, make_traffic(500, seed=6))

        def took_the_newest() -> bool:
            worker.step()
            return taken[-1] > 0 and worker._sources.is_live

        eventually(took_the_newest, timeout_s=60, what="a turn takes the newest events")
        worker._sources._sender.flush()
        for place, tasks in worker._views._tasks.items():
            _, end = worker._views._consumer.get_watermark_offsets(TopicPartition(*place))
            assert {task.offset for task in tasks} == {end - 1}
    finally:
        worker.stop()
        worker.run()
