"""Clients of a real broker, and of one that is not there."""

import dataclasses
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.config import KafkaSettings, Settings
from headrace.contracts.topics import Topic
from headrace.errors import ConfigError, UnavailableError
from headrace.kafka_clients import check_broker, end_offsets, ensure_topics, partition_counts, read_topic
from headrace.kafka_sender import Sender


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Settings]:
    """Settings whose broker is a port nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield Settings(home=tmp_path, kafka=KafkaSettings(bootstrap=f"127.0.0.1:{taken.getsockname()[1]}"))


def test_topics_are_made_once(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    plain, single = fresh_name("plain"), fresh_name("single")
    topic = Topic(name=single, key="k", value="v", writer="w", readers=(), partitions=1)

    ensure_topics(stack, [plain, topic])
    ensure_topics(stack, [plain, topic])

    assert partition_counts(stack, [plain, single, "absent"]) == {plain: stack.kafka.partitions, single: 1}


def test_what_is_sent_is_read_with_key_headers_and_time(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic = fresh_name("sent")
    ensure_topics(stack, [topic])
    sender = Sender(stack, compression="lz4")
    sender.send(topic, b"one", key="k", partition=2, headers={"reason": "late"}, timestamp_ms=1_522_540_800_000)
    sender.send_many(topic, [b"two", b"three"], keys=["a", None], timestamps_ms=[5, 6], partition=0)
    sender.flush()

    messages = list(read_topic(stack, topic))

    assert {message.value(): message.timestamp()[1] for message in messages} == {
        b"one": 1_522_540_800_000,
        b"two": 5,
        b"three": 6,
    }
    one = next(message for message in messages if message.value() == b"one")
    assert (one.partition(), one.key(), one.headers()) == (2, b"k", [("reason", b"late")])
    ends = end_offsets(stack, [topic])
    assert {number: end for (_, number), end in ends.items()} == {0: 2, 1: 0, 2: 1, 3: 0}


def test_reading_from_an_offset_leaves_out_what_was_before(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic = fresh_name("offsets")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sender.send_many(topic, [b"%d" % n for n in range(5)], partition=1)
    sender.send_many(topic, [b"other"], partition=2)
    sender.flush()

    values = [message.value() for message in read_topic(stack, topic, start={1: 3}, only={1})]

    assert values == [b"3", b"4"]


def test_an_absent_broker_is_one_sentence_and_the_next_step(
    nobody: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnavailableError, match=r"does not answer.*\n  hint: start the embedded stack"):
        check_broker(nobody)

    assert capfd.readouterr().err.count("\n") <= 2


def test_what_was_not_delivered_is_no_secret(nobody: Settings) -> None:
    sender = Sender(nobody)
    sender.send("anything", b"value")

    with pytest.raises(UnavailableError, match="1 messages were not acknowledged"):
        sender.flush(timeout_s=0.2)


def test_the_users_client_settings_are_read_and_checked(stack: Settings, tmp_path: Path) -> None:
    file = tmp_path / "client.conf"
    settings = dataclasses.replace(stack, kafka=dataclasses.replace(stack.kafka, client_config=str(file)))
    file.write_text("# ours\nclient.id = somebody\n", encoding="utf-8")
    check_broker(settings)

    file.write_text("no.such.setting=1", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no\.such\.setting"):
        check_broker(settings)
    file.write_text("client.id", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        check_broker(settings)
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        check_broker(settings)
