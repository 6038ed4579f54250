"""One port, two readers: what comes out of Kafka is the same, and stays what it was."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.kafka_clients import consumer, ensure_topics
from headrace.kafka_sender import Sender
from streams.messages.confluent_reader import ConfluentReader
from streams.messages.librdkafka import find_librdkafka
from streams.messages.message_runs import NO_KEY, NO_VALUE, MessageReader, MessageRun
from streams.messages.native_reader import NativeReader
from tests.eventually import eventually


@dataclass
class Opened:
    """A reader, the consumer below it, and what came out so far."""

    consumer: Any
    reader: MessageReader
    runs: list[MessageRun] = field(default_factory=list)

    def close(self) -> None:
        self.reader.close()
        self.consumer.close()

    def assign(self, topic: str, starts: Mapping[int, int]) -> None:
        self.reader.add({(topic, number): first for number, first in starts.items()})

    def read_to_ends(self, partitions: int, *, at_most: int | None = None) -> list[MessageRun]:
        """Everything up to the end of each partition."""
        ended: set[int] = set()

        def ends() -> bool:
            while runs := self.reader.read(at_most or self.reader.at_once, 0.05):
                self.runs.extend(runs)
                ended.update(run.partition for run in runs if run.at_end)
            return len(ended) == partitions

        eventually(ends, what="the ends of all partitions")
        return [run for run in self.runs if len(run)]


def make(kind: str, settings: Settings) -> Opened:
    library = find_librdkafka() if kind == "native" else None
    assert library is not None or kind != "native", "the tests run where the library is one that was tried"
    client = consumer(
        settings,
        "readers",
        config={"enable.partition.eof": True, "auto.offset.reset": "error"},
    )
    bootstrap = settings.kafka.bootstrap
    return Opened(client, NativeReader(library, client, bootstrap) if library else ConfluentReader(client, bootstrap))


@pytest.fixture(params=["native", "confluent"])
def opened(request: pytest.FixtureRequest, stack: Settings) -> Iterator[Opened]:
    made = make(request.param, stack)
    yield made
    made.close()


def values(runs: list[MessageRun], partition: int = 0) -> list[bytes]:
    return [value for run in runs if run.partition == partition for value in run.values]


def test_a_message_has_its_value_key_time_and_place(
    opened: Opened, stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("whole")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sender.send(topic, b"skipped", partition=1)
    sender.send(topic, b"value", key=b"key", partition=1, timestamp_ms=1_522_540_800_123)
    sender.flush()

    opened.assign(topic, {1: 1})
    (run,) = opened.read_to_ends(1)

    assert (run.topic, run.partition, run.offsets.tolist()) == (topic, 1, [1])
    assert (list(run.values), list(run.keys)) == ([b"value"], [b"key"])
    assert run.arrivals_us.tolist() == [1_522_540_800_123_000]


def test_nothing_is_not_the_same_as_empty(opened: Opened, stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic = fresh_name("empty")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sender.send(topic, None, key=b"", partition=0)
    sender.send(topic, b"", partition=0)
    sender.send(topic, b"x", key=b"k", partition=0)
    sender.flush()

    opened.assign(topic, {0: 0})
    runs = opened.read_to_ends(1)

    missing = [bits for run in runs for bits in run.missing.tolist()]
    assert missing == [NO_VALUE, NO_KEY, 0]
    assert values(runs) == [b"", b"", b"x"]


def test_headers_come_with_messages_that_have_nothing_else(
    opened: Opened, stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("headers")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sender.send(topic, b"x", partition=0, headers={"lost": "yes"})
    sender.send(topic, None, partition=0, headers={"watermark": "17", "flush": b""})
    sender.send(topic, None, partition=0)
    sender.flush()

    opened.assign(topic, {0: 0})
    runs = opened.read_to_ends(1)

    headers = {offset: dict(found) for run in runs for offset, found in run.headers.items()}
    assert headers == {1: {"watermark": b"17", "flush": b""}, 2: {}}


@pytest.mark.parametrize("at_most", [None, 7, 5_000])
def test_many_messages_keep_their_order_whatever_the_size_of_a_read(
    opened: Opened, stack: Settings, fresh_name: Callable[[str], str], at_most: int | None
) -> None:
    topic, count = fresh_name("many"), 700 if at_most == 7 else 9_000
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sent: dict[int, list[bytes]] = {}
    for partition in range(stack.kafka.partitions):
        sent[partition] = [b"%d/%d " % (partition, n) * (n % 23) or b"-" for n in range(count)]
        keys = [b"%d" % n for n in range(count)]
        sender.send_many(topic, sent[partition], keys=keys, timestamps_ms=range(1, count + 1), partition=partition)
    sender.flush()

    opened.assign(topic, dict.fromkeys(sent, 0))
    runs = opened.read_to_ends(len(sent), at_most=at_most)

    for partition, expected in sent.items():
        mine = [run for run in runs if run.partition == partition]
        assert values(mine, partition) == expected
        assert [key for run in mine for key in run.keys] == keys
        assert [offset for run in mine for offset in run.offsets.tolist()] == list(range(count))
        assert [us for run in mine for us in run.arrivals_us.tolist()] == [n * 1000 for n in range(1, count + 1)]


def test_what_was_read_outlives_the_consumer(opened: Opened, stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic = fresh_name("outlives")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sent = [b"%d" % n * 50 for n in range(3_000)]
    sender.send_many(topic, sent, partition=0)
    sender.flush()

    opened.assign(topic, {0: 0})
    runs = opened.read_to_ends(1)
    opened.close()

    assert values(runs) == sent


def test_a_partition_that_grows_after_its_end_goes_on(
    opened: Opened, stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("grows")
    ensure_topics(stack, [topic])
    opened.assign(topic, {0: 0})
    assert opened.read_to_ends(1) == []
    sender = Sender(stack)
    sender.send(topic, b"later", partition=0)
    sender.flush()

    assert values(opened.read_to_ends(1)) == [b"later"]


def test_a_pause_loses_and_repeats_nothing(opened: Opened, stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic, count = fresh_name("pause"), 20_000
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    for partition in (0, 1):
        sender.send_many(topic, [b"%d" % n * 20 for n in range(count)], partition=partition)
    sender.flush()

    opened.assign(topic, {0: 0, 1: 0})
    paused = [TopicPartition(topic, 0)]
    while sum(map(len, opened.runs)) < count:
        opened.runs.extend(opened.reader.read(500, 0.05))
        opened.consumer.pause(paused)
        opened.runs.extend(opened.reader.read(500, 0.05))
        opened.consumer.resume(paused)

    def all_read() -> bool:
        opened.runs.extend(opened.reader.read(5_000, 0.05))
        return sum(map(len, opened.runs)) >= 2 * count

    eventually(all_read, what="the rest")
    for partition in (0, 1):
        mine = [run for run in opened.runs if run.partition == partition]
        assert [offset for run in mine for offset in run.offsets.tolist()] == list(range(count))


def test_a_refusal_is_raised(opened: Opened, stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic = fresh_name("refused")
    ensure_topics(stack, [topic])
    opened.assign(topic, {0: 10_000})

    def refused() -> bool:
        try:
            opened.reader.read(10, 0.05)
        except UnavailableError as error:
            return "AUTO_OFFSET_RESET" in str(error)
        return False

    eventually(refused, what="the offset is refused")


def test_only_the_first_message_is_waited_for(
    opened: Opened, stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("first")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    sender.send_many(topic, [b"one", b"two"], partition=0)
    sender.flush()
    opened.assign(topic, {0: 0})

    # Longer than a test may take: one that waited for a thousand would not end.
    found: list[bytes] = []
    while len(found) < 2:
        found += values(list(opened.reader.read(1_000, 3_600.0)))

    assert found == [b"one", b"two"]


def test_what_nobody_read_does_not_keep_a_consumer_from_closing(
    opened: Opened, stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("unread")
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    for partition in range(stack.kafka.partitions):
        sender.send_many(topic, [b"x" * 100] * 5_000, partition=partition)
    sender.flush()

    opened.assign(topic, dict.fromkeys(range(stack.kafka.partitions), 0))
    eventually(lambda: opened.reader.read(1, 0.05), what="a first message")
    opened.close()


@pytest.mark.parametrize("kind", ["native", "confluent"])
def test_a_broker_that_is_away_is_waited_for(kind: str, stack: Settings) -> None:
    nowhere = replace(stack, kafka=replace(stack.kafka, bootstrap="127.0.0.1:1"))
    made = make(kind, nowhere)
    made.assign("anything", {0: 0})

    assert [made.reader.read(10, 0.1) for _ in range(5)] == [[]] * 5
    made.close()


def test_a_reader_can_be_closed_twice(opened: Opened) -> None:
    opened.reader.close()
    opened.reader.close()
