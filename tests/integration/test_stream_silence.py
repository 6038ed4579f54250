"""A live stream falls silent: what its windows held leaves them all the same, online and in the log."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from feature_store.online.lookup import LookupRequest, OnlineReader, ViewRow
from feature_store.online.online_layout import decode_value, entity_key, feature_field
from headrace import EventStream, FeatureView, Int64, Project, count
from headrace.clock import format_us
from headrace.config import Settings
from headrace.kafka_clients import ensure_topics
from headrace.kafka_sender import Sender
from streams.progress import wait_applied
from streams.worker import StreamWorker, stream_topics
from tests.eventually import eventually

HOUR_US = 3_600_000_000


@pytest.fixture
def clicks(fresh_name: Callable[[str], str]) -> Project:
    name = fresh_name("clicks")
    stream = EventStream(name, key="user", time="at", id="id", schema={"user": Int64}, lateness="1s")
    view = FeatureView("recent", entity="user", source=stream, closed="right", features=[count().over("4s", "1d")])
    return Project(name=name, path=Path(), streams=(stream,), labels=(), views=(view,), requests=(), models=())


@pytest.fixture
def send(stack: Settings, clicks: Project) -> Iterator[Callable[[int], None]]:
    ensure_topics(stack, stream_topics(clicks))
    worker = StreamWorker(stack, clicks)
    thread = threading.Thread(target=worker.run)
    thread.start()
    sender = Sender(stack)

    def one_click(at_us: int) -> None:
        value = json.dumps({"id": at_us, "user": 7, "at": format_us(at_us)}).encode()
        sender.send(clicks.streams[0].name, value, partition=0)
        sender.flush()

    yield one_click
    worker.stop()
    thread.join(60)


def row_of(stack: Settings, project: Project) -> ViewRow:
    reader = OnlineReader(stack.redis.url, project)
    try:
        return reader.read([LookupRequest(views=project.views, entities={"user": 7})])[0]["recent"]
    finally:
        reader.close()


def test_rows_of_a_live_stream_change_when_nothing_arrives(
    stack: Settings, clicks: Project, send: Callable[[int], None]
) -> None:
    send(time.time_ns() // 1000)

    eventually(lambda: row_of(stack, clicks).values == {"count_4s": 1, "count_1d": 1}, what="the click counts")
    row = eventually(lambda: (row := row_of(stack, clicks)).values["count_4s"] == 0 and row, what="the click leaves")

    assert row.values == {"count_4s": 0, "count_1d": 1}
    raw = redis.Redis.from_url(stack.redis.url).hget(
        entity_key("user", 7, clicks.name), feature_field("recent", "count_4s")
    )
    assert decode_value(raw) == 0, "what Feast's own clients read"
    now_us = time.time_ns() // 1000
    send(now_us)
    eventually(lambda: row_of(stack, clicks).values == {"count_4s": 1, "count_1d": 2}, what="the next click counts")


def test_rows_of_a_replay_stand_still(stack: Settings, clicks: Project, send: Callable[[int], None]) -> None:
    at_us = time.time_ns() // 1000 - 5 * HOUR_US
    send(at_us)
    wait_applied(stack, clicks, watermark_us=at_us, timeout_s=60)
    eventually(lambda: row_of(stack, clicks).values == {"count_4s": 1, "count_1d": 1}, what="the click counts")

    send(at_us + 3_000_000)
    eventually(lambda: row_of(stack, clicks).values["count_1d"] == 2, what="both count")

    assert row_of(stack, clicks).values == {"count_4s": 2, "count_1d": 2}, "whatever time passed between them"
