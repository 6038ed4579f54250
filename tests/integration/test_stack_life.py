"""A stack of its own, because these tests kill and restart its servers."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.config import Settings
from headrace.errors import RejectedError, UnavailableError
from headrace.local.examination import Verdict, examine
from headrace.local.layout import Layout
from headrace.local.ports import HOST, read_ports
from headrace.local.stack import EmbeddedStack
from tests.eventually import eventually

_LONG_AGO_MS = 1_522_540_800_000
"""2018-04-01: message time of a replay, older than any default retention."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    own = EmbeddedStack(tmp_path_factory.mktemp("own"))
    try:
        own.up()
        yield own
    finally:
        own.down()


@pytest.fixture
def settings(servers: EmbeddedStack) -> Settings:
    return servers.up()  # whatever the test before it left


def _produce(settings: Settings, topic: str, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap, "compression.type": "lz4"})
    for number in range(count):
        producer.produce(topic, str(number).encode(), timestamp=_LONG_AGO_MS + number)
    assert producer.flush(30) == 0


def _consume(settings: Settings, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka.bootstrap, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    found: list[bytes] = []

    def probe() -> bool:
        found.extend(message.value() for message in consumer.consume(count, 0.2) if not message.error())
        return len(found) >= count

    with closing(consumer):
        eventually(probe)
    return found


def _processes_of(home: Path) -> list[psutil.Process]:
    """Everything started for a home: its servers and supervisor name it in command line or folder."""
    found = []
    for each in psutil.process_iter():
        try:
            names_it = str(home) in " ".join(each.cmdline()) or each.cwd().startswith(str(home))
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if names_it and each.status() != psutil.STATUS_ZOMBIE:
            found.append(each)
    return found


@pytest.mark.parametrize("name", ["kafka", "valkey", "temporal"])
def test_a_killed_server_comes_back(servers: EmbeddedStack, settings: Settings, name: str) -> None:
    before = {each.name: each for each in servers.status().services}
    pid = before[name].pid
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: {e.name: e.pid for e in servers.status().services}[name] not in (pid, None))

    eventually(lambda: servers.status().is_up, timeout_s=60)


def test_data_survives_a_kill_and_a_restart(
    servers: EmbeddedStack, settings: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("kept")
    _produce(settings, topic, 500)
    redis.Redis.from_url(settings.redis.url).set(topic, "kept")
    kafka_pid = {each.name: each.pid for each in servers.status().services}["kafka"]
    assert kafka_pid is not None

    os.kill(kafka_pid, signal.SIGKILL)
    servers.down()
    again = servers.up()

    assert _consume(again, topic, 500) == [str(number).encode() for number in range(500)]
    assert redis.Redis.from_url(again.redis.url).get(topic) == b"kept"


def test_ports_are_kept_unless_somebody_took_one(
    servers: EmbeddedStack, settings: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("moved")
    _produce(settings, topic, 10)
    servers.down()
    told: list[str] = []
    kafka_port = int(settings.kafka.bootstrap.rpartition(":")[2])

    with socket.create_server((HOST, kafka_port)):
        moved = servers.up(progress=lambda _, sentence: told.append(sentence))

    assert moved.redis == settings.redis
    assert moved.temporal == settings.temporal
    assert moved.kafka.bootstrap != settings.kafka.bootstrap
    assert any(str(kafka_port) in sentence for sentence in told)
    assert len(_consume(moved, topic, 10)) == 10


def test_one_server_can_be_stopped_and_started(servers: EmbeddedStack, settings: Settings) -> None:
    servers.stop_service("temporal")

    answers = {each.name: each.answers for each in servers.status().services}
    assert answers == {"kafka": True, "valkey": True, "temporal": False}
    servers.start_service("temporal")
    assert servers.status().is_up


def test_an_unknown_server_is_refused_with_the_known_ones(servers: EmbeddedStack, settings: Settings) -> None:
    with pytest.raises(RejectedError, match="kafka, valkey, temporal"):
        servers.stop_service("postgres")


def test_up_twice_changes_nothing(servers: EmbeddedStack, settings: Settings) -> None:
    before = [each.pid for each in servers.status().services]

    assert servers.up() == settings
    assert [each.pid for each in servers.status().services] == before


def test_doctor_finds_nothing_wrong_with_a_running_stack(servers: EmbeddedStack, settings: Settings) -> None:
    found = [each for each in examine(settings) if each.verdict is not Verdict.OK]

    assert [each for each in found if "jemalloc" not in each.sentence] == []


def test_two_stacks_run_side_by_side_and_leave_nothing(
    servers: EmbeddedStack, settings: Settings, tmp_path: Path
) -> None:
    other = EmbeddedStack(tmp_path / "other")
    try:
        theirs = other.up(mlflow_ui=True)
        assert theirs.kafka.bootstrap != settings.kafka.bootstrap
        assert [each.name for each in other.status().services if each.answers][-1] == "mlflow"
        assert servers.status().is_up
    finally:
        other.down()

    assert _processes_of(other.home) == []
    assert servers.status().is_up


def test_every_port_is_on_loopback(servers: EmbeddedStack, settings: Settings) -> None:
    pids = {each.pid for each in servers.status().services}
    listening: list[Any] = [
        connection.laddr.ip
        for connection in psutil.net_connections(kind="tcp")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) >= 4
    assert set(listening) <= {HOST, f"::ffff:{HOST}"}


def test_down_leaves_no_process_even_after_the_supervisor_was_killed(
    servers: EmbeddedStack, settings: Settings
) -> None:
    supervisor = servers.status().supervisor_pid
    assert supervisor is not None
    assert len(_processes_of(servers.home)) >= 4

    os.kill(supervisor, signal.SIGKILL)
    servers.down()

    assert _processes_of(servers.home) == []
    assert not Layout(servers.home).stack_file.exists()
    assert read_ports(Layout(servers.home)) != {}


def test_a_server_that_cannot_start_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    broken = EmbeddedStack(tmp_path / "broken")
    manifest = Layout(broken.home).data_dir("valkey") / "appendonlydir" / "appendonly.aof.manifest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("garbage\n")

    with pytest.raises(UnavailableError, match=r"valkey does not start.*Invalid AOF manifest"):
        broken.up()

    assert _processes_of(broken.home) == []
