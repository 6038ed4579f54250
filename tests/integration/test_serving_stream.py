"""Scoring the stream on real Kafka and Redis: each event once, on the features the stream computes."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition

from feature_store.online.redis_online import connect
from headrace import ArrowBatches, Avro
from headrace.config import Settings
from headrace.contracts.codec import encode
from headrace.contracts.redis_keys import progress_key
from headrace.contracts.streams import ViewProgress
from headrace.kafka_clients import consumer, ensure_topics
from headrace.kafka_sender import Sender
from headrace.spec.formats import Format
from serving.stream_scorer import StreamScorer
from streams.formats.arrow_writer import ArrowWriter
from streams.formats.avro_writer import AvroWriter, declared_schema
from streams.formats.message_reader import open_readers
from streams.schemas.schema_registry_choice import open_registry
from tests.eventually import eventually
from tests.integration.serving_house import House, payment
from tests.unit.serving.cards import NOON_US

HOUR_US = 3_600_000_000


@pytest.fixture
def house(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str]) -> House:
    made = House(stack, tmp_path, fresh_name("cards"))
    made.publish("v1", weight=0.01)
    made.publish("v2", weight=0.02)
    ensure_topics(made.settings, [made.model.events.name])
    return made


class Producer:
    """Publishes payments and says, like the stream, how far they are applied."""

    def __init__(self, house: House) -> None:
        self._house, self._topic = house, house.model.events.name
        self._sender = Sender(house.settings)
        self._redis = connect(house.settings.redis.url)

    def publish(self, *values: dict[str, Any] | bytes) -> None:
        """Send events in order to the first partition."""
        for value in values:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            at_ms = NOON_US // 1000 + 10**9
            self._sender.send(self._topic, data, partition=0, timestamp_ms=at_ms)
        self._sender.flush()

    def applied(self, *events: dict[str, Any], until_offset: int) -> None:
        """Write rows of the events, then report that everything up to the offset is applied."""
        self._house.apply(*events)
        for view in self._house.project.views:
            for partition in range(self._house.settings.kafka.partitions):
                report = ViewProgress(
                    view=view.name,
                    partition=partition,
                    keyed_offset=0,
                    watermark_us=2**60,
                    sources={f"{self._topic}:0": until_offset},
                    rows=len(events),
                    at_us=0,
                )
                key = progress_key(self._house.project.name)
                self._redis.hset(key, f"{view.name}:{partition}", encode(report))


@contextmanager
def scoring(house: House) -> Iterator[None]:
    """A scorer that runs as long as the block."""
    stop = threading.Event()
    scorer = StreamScorer(house.settings, house.project, stop, open_readers(house.settings))
    thread = threading.Thread(target=scorer.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_stream_and_the_http_server_give_one_event_the_same_features_and_score(house: House) -> None:
    events = [payment(n, card=n % 3, at_us=NOON_US + n * 600_000_000, amount=n / 7) for n in range(1, 30)]
    house.roll_out()
    producer = Producer(house)
    with house.serving() as ask:
        answers = {}
        for offset, event in enumerate(events):  # each request comes before the stream knows the event
            answers[str(event["payment"])] = ask.predict(house.model.name, event)
            producer.publish(event)
            producer.applied(event, until_offset=offset)
    with scoring(house):
        eventually(lambda: sum(record.source == "stream" for record in house.logged()) == len(events))

    for record in house.logged():
        answer = answers[record.event_id]
        assert record.features == answer["features"]
        assert record.score == pytest.approx(answer["score"], rel=1e-12)  # a batch multiplies in another order
    streamed = [record for record in house.logged() if record.source == "stream"]
    assert {record.prediction_id for record in streamed} == {f"{n}/stream" for n in range(1, 30)}
    assert {record.views["spending"]["own_event"] for record in streamed} == {"applied"}


@pytest.mark.parametrize("form", [Avro(), ArrowBatches()], ids=str)
def test_events_in_every_format_are_scored(
    form: Format, stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str]
) -> None:
    house = House(stack, tmp_path, fresh_name("cards"), form=form)
    house.publish("v1", weight=0.01)
    house.roll_out(champion="v1")
    ensure_topics(house.settings, [house.model.events.name])
    events = [payment(n, card=n % 3, at_us=NOON_US + n * 1_000_000, amount=n / 4) for n in range(1, 13)]
    producer = Producer(house)
    messages = written(house, events)
    producer.publish(messages[0], b"\x00 no message", *messages[1:])
    producer.applied(*events, until_offset=len(messages))
    with house.serving() as ask:
        answers = {str(event["payment"]): ask.predict(house.model.name, event) for event in events}
    with scoring(house):
        eventually(lambda: sum(record.source == "stream" for record in house.logged()) == len(events))

    streamed = [record for record in house.logged() if record.source == "stream"]
    assert {record.event_id: record.features for record in streamed} == {
        number: answer["features"] for number, answer in answers.items()
    }
    assert _committed(house) == len(messages) + 1


def written(house: House, events: list[dict[str, Any]]) -> list[bytes]:
    """Messages of the first partition; in Arrow of five events each."""
    stream = house.model.events
    columns = {name: [event.get(name) for event in events] for name in stream.schema}
    kinds = {"tip": pa.float64()}
    table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    times_us = np.array([event["at"] for event in events])
    table = table.append_column("at", pa.array(times_us, pa.timestamp("us", "UTC")))
    if isinstance(stream.format, Avro):
        number = open_registry(house.settings).register(f"{stream.name}-value", declared_schema(stream))
        return AvroWriter(stream, number).encode(table)
    return [message for _, message, _ in ArrowWriter(stream, 1, span_us=4_000_000).encode(table, times_us)]


def test_it_waits_for_the_stream_to_apply_what_came_before(house: House) -> None:
    before, event = payment(1, amount=3.0), payment(2, at_us=NOON_US + HOUR_US, amount=5.0)
    house.roll_out()
    producer = Producer(house)
    producer.publish(before, event)
    with scoring(house):
        eventually(house.told)
        assert house.logged() == []
        producer.applied(before, event, until_offset=1)
        records = eventually(house.logged)

    assert [record.features["spending__count_1d"] for record in records] == [1.0, 2.0]
    assert records[1].features["spending__mean_amount_1d"] == 4.0


def test_what_is_no_event_is_skipped_and_the_rest_is_scored(house: House) -> None:
    house.roll_out()
    producer = Producer(house)
    late = {**payment(9), "at": NOON_US + 400 * 24 * HOUR_US}
    producer.publish(payment(1), b"{", b"", {**payment(2), "card": "x"}, late, payment(3))
    producer.applied(payment(1), payment(3), until_offset=5)
    with scoring(house):
        eventually(lambda: len(house.logged()) == 2)

    assert [record.event_id for record in house.logged()] == ["1", "3"]


def test_a_restart_goes_on_where_predictions_are_in_the_log(house: House) -> None:
    house.roll_out()
    producer = Producer(house)
    for number in (1, 2):
        producer.publish(payment(number))
        producer.applied(payment(number), until_offset=number - 1)
        with scoring(house):
            eventually(lambda number=number: len(house.logged()) == number)

    assert [record.event_id for record in house.logged()] == ["1", "2"]
    assert _committed(house) == 2


def test_events_before_the_first_champion_are_passed_over(house: House) -> None:
    producer = Producer(house)
    producer.publish(payment(1))
    producer.applied(payment(1), until_offset=0)
    with scoring(house):
        eventually(lambda: _committed(house) == 1)
        house.roll_out()
        eventually(house.told)
        producer.publish(payment(2))
        producer.applied(payment(2), until_offset=1)
        eventually(house.logged)

    assert [record.event_id for record in house.logged()] == ["2"]


def _committed(house: House) -> int | None:
    client = consumer(house.settings, f"headrace.score.{house.project.name}")
    try:
        offset = client.committed([TopicPartition(house.model.events.name, 0)], 10)[0].offset
    finally:
        client.close()
    return offset if offset >= 0 else None
