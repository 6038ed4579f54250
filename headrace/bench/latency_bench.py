"""How old an event is when its features can be read: published at a steady rate, seen in Redis as it happens.

    publish ──► Kafka ──► worker ──► keyed log ──► worker ──► Redis ──► the key's notification, here

One thread publishes on a schedule and reads notifications, so both instants are of one clock. A customer and a terminal
have an event every two seconds: a notification belongs to the newest one published, which counts when both rows are
there. Ages of more than two seconds would be told too small.
Everything shares the machine's cores as it likes: servers, worker and this process. The floor is the same schedule
through the broker alone: published, and consumed again.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hiredis
import numpy as np
import redis
from confluent_kafka import Consumer
from numpy.typing import NDArray

from headrace.bench.cores import describe_machine, wait_for_quiet
from headrace.bench.row import BenchRow
from headrace.bench.stream_bench import bench_project
from headrace.config import Settings
from headrace.contracts.topics import keyed_topic
from headrace.errors import HeadraceError
from headrace.kafka_clients import ensure_topics, make_client, partition_counts
from headrace.kafka_sender import Sender
from headrace.local.stack import EmbeddedStack
from headrace.spec.project import Project
from streams.progress import Progress
from streams.worker import stream_topics

__all__ = ["run_latency"]

_PER_SECOND = 10_000
_KEYS = 20_000
"""Customers, and as many terminals, each in its turn."""
_WARM_S, _MEASURED_S = 20.0, 10.0
_START_S, _PATIENCE_S = 300.0, 120.0
_TICK_S, _LOOK_S = 0.001, 0.05
_KEY_AT = -8
"""Where, before the project's name, the entity's number stands in a hash key of the online store."""
_EVENT = b'{"transaction_id":%d,"tx_datetime":%d,"customer_id":%d,"terminal_id":%d,"tx_amount":%d.25}'
Say = Callable[[str], None]
Look = Callable[[float], None]


def run_latency(say: Say) -> tuple[list[BenchRow], str]:
    """Median and 99th percentile from publishing to reading at 10,000 events a second, and the machine."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        stack = EmbeddedStack(Path(folder) / "home")
        say("starting servers of its own")
        settings = stack.up()
        try:
            project = bench_project(Path(folder) / "bench_latency", "json")
            say("waiting for quiet cores")
            machine = describe_machine(wait_for_quiet())
            say(f"the broker alone, {_PER_SECOND:,} events/s")
            floor = _through_broker(settings)
            say(f"headrace, {_PER_SECOND:,} events/s")
            with _worker(settings, project):
                _wait_started(settings, project)
                ours = _through_worker(settings, project)
        finally:
            stack.down()
    return [_row(share, goal, ours, floor) for share, goal in ((0.5, 15.0), (0.99, 50.0))], machine


def _wait_started(settings: Settings, project: Project) -> None:
    """Return when the worker has taken over every partition of the keyed logs; one that compiles takes minutes."""
    progress, deadline = Progress(settings.redis.url, project.name), time.monotonic() + _START_S
    ensure_topics(settings, stream_topics(project))
    keyed = partition_counts(settings, [keyed_topic(project.name, view.entity).name for view in project.views])
    while len(progress.views()) < sum(keyed.values()):
        if time.monotonic() > deadline:
            raise HeadraceError("the worker has not started", hint="see its own output above")
        time.sleep(_LOOK_S)
    progress.close()


def _row(share: float, goal: float, ours: NDArray[np.float64], floor: NDArray[np.float64]) -> BenchRow:
    value, lowest = (float(np.quantile(each, share) * 1e3) for each in (ours, floor))
    return BenchRow(
        name=f"latency, p{share * 100:.0f}",
        value=value,
        unit="ms",
        goal=goal,
        peer="broker alone",
        peer_value=lowest,
        less_is_better=True,
        note=f"{len(ours):,} events at {_PER_SECOND:,}/s",
    )


def _through_worker(settings: Settings, project: Project) -> NDArray[np.float64]:
    store = redis.Redis.from_url(settings.redis.url)
    store.config_set("notify-keyspace-events", "Kh")
    listener: Any = store.connection_pool.get_connection()
    listener.send_command("PSUBSCRIBE", "__keyspace@*")
    listener.read_response()
    events = int((_WARM_S + _MEASURED_S) * _PER_SECOND)
    sent, seen = np.full(events, np.inf), np.full((2, events), np.inf)
    newest = np.zeros((2, _KEYS), np.int64)  # how many events of each key were seen
    end, marks = len(project.name.encode()), (b"customer_id", b"terminal_id")
    reader, sock = hiredis.Reader(), listener._sock
    sock.setblocking(False)

    def look(now: float) -> None:
        try:
            reader.feed(sock.recv(1 << 20))
        except BlockingIOError:
            return
        while (told := reader.gets()) is not False:
            key = told[2]
            which = 0 if marks[0] in key else 1 if marks[1] in key else -1
            if which < 0 or not key.endswith(project.name.encode()):
                continue
            place = int.from_bytes(key[_KEY_AT - end : -end], "little")
            number = place + newest[which, place] * _KEYS
            while number < events and np.isfinite(sent[number]):
                seen[which, number] = now
                newest[which, place] += 1
                number += _KEYS

    _publish(settings, project.only_stream().name, sent, look, lambda n: bool(np.isfinite(seen[:, :n]).all()))
    listener.disconnect()
    return _measured(seen.max(axis=0) - sent)


def _through_broker(settings: Settings) -> NDArray[np.float64]:
    topic = "bench-floor"
    ensure_topics(settings, [topic])
    consumer = make_client(Consumer, settings, {"group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    events = int((_WARM_S + _MEASURED_S) * _PER_SECOND)
    sent, seen = np.full(events, np.inf), np.full(events, np.inf)

    def look(now: float) -> None:
        for message in consumer.consume(1_000, 0):
            if message.error() is None:
                seen[int(message.key())] = now

    _publish(settings, topic, sent, look, lambda n: bool(np.isfinite(seen[:n]).all()))
    consumer.close()
    return _measured(seen - sent)


def _measured(ages: NDArray[np.float64]) -> NDArray[np.float64]:
    return ages[int(_WARM_S * _PER_SECOND) :]


def _publish(
    settings: Settings, topic: str, sent: NDArray[np.float64], look: Look, is_seen: Callable[[int], bool]
) -> None:
    """Publish on the schedule, until all events are seen.

    The first is waited for before the schedule begins, so that whoever reads has started.

    Args:
        settings: where the broker is.
        topic: where they go.
        sent: filled with the instant each event is given to the producer.
        look: called again and again with the time; notes what can be seen.
        is_seen: whether the first so many were.
    """
    # The client library's own waiting time: with one millisecond each event was a request, and the broker's core full.
    # An idempotent producer has five requests under way at most; with more to send it asks for answers without a
    # pause. On the servers' core that left the broker no time to give any, and the group took the worker for dead.
    sender, events = Sender(settings, linger_ms=5, config={"enable.idempotence": False}), len(sent)

    def send(first: int, end: int) -> None:
        now, wall_us = time.perf_counter(), time.time_ns() // 1_000
        for number in range(first, end):
            place = number % _KEYS
            value = _EVENT % (number, wall_us, place, place, number % 100)
            sent[number] = now
            sender.send(topic, value, key=b"%d" % number)
        sender.poll()

    def wait(count: int) -> None:
        deadline = time.perf_counter() + _PATIENCE_S
        while not is_seen(count):
            if time.perf_counter() > deadline:
                raise HeadraceError("some events were never seen", hint="see the worker's own output above")
            look(time.perf_counter())
            time.sleep(_TICK_S)

    send(0, 1)
    wait(1)
    began, count = time.perf_counter(), 1
    while count < events:
        due = min(events, 1 + int((time.perf_counter() - began) * _PER_SECOND))
        send(count, due)
        count = due
        look(time.perf_counter())
        time.sleep(_TICK_S)
    wait(events)
    sender.flush()


@contextmanager
def _worker(settings: Settings, project: Project) -> Iterator[None]:
    """A stream worker as people run it."""
    command = [sys.executable, "-m", "headrace", "run", "stream", "--project", str(project.path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environment["HEADRACE_HOME"] = str(settings.home)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)
