"""What the fetcher lets through while the broker does not say where partitions end."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, Message

from headrace.config import load_settings
from headrace.errors import UnavailableError
from streams.fetch import Fetcher

MINUTE_MS = 60_000
EVENTS, LABELS = ("events", 0), ("labels", 0)
Place = tuple[str, int]


class Broker:
    """Hands over what was put into it, and says where partitions end, or does not."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ends: dict[Place, int] = {}
        self.is_away = False
        self.asked = 0

    def put(self, place: Place, offset: int, minute: int) -> None:
        self.messages.append(
            Message(topic=place[0], partition=place[1], offset=offset, value=b"{}", timestamp=(1, minute * MINUTE_MS))
        )

    def end(self, place: Place) -> None:
        self.messages.append(
            Message(topic=place[0], partition=place[1], error=KafkaError(KafkaError._PARTITION_EOF, "end"))
        )

    def consume(self, count: int, _timeout_s: float) -> list[Message]:
        given, self.messages = self.messages[:count], self.messages[count:]
        return given

    def assign(self, _places: Sequence[Any]) -> None:
        pass

    def latest(self, places: Collection[Place]) -> Mapping[Place, int]:
        self.asked += 1
        if self.is_away:
            raise UnavailableError("the broker is away")
        return {place: self.ends[place] for place in places}


def opened(home: Path) -> tuple[Broker, Fetcher]:
    broker = Broker()
    fetcher = Fetcher(load_settings(home), broker, ends=broker.latest, slack_us=0)
    fetcher.assign({EVENTS: 0, LABELS: 0})
    return broker, fetcher


def offsets(fetcher: Fetcher) -> dict[str, list[int]]:
    return {batch.topic: batch.offsets.tolist() for batch in fetcher.fetch(100, 0.0)}


def test_messages_wait_while_the_broker_does_not_say_where_the_others_end(tmp_path: Path) -> None:
    broker, fetcher = opened(tmp_path)
    broker.end(LABELS)
    broker.put(EVENTS, 0, minute=5)
    broker.end(EVENTS)
    broker.ends = {EVENTS: 1, LABELS: 0}

    broker.is_away = True
    held = [offsets(fetcher), offsets(fetcher)]
    broker.is_away = False

    assert held == [{}, {}]
    assert offsets(fetcher) == {"events": [0]}


def test_a_partition_that_grew_meanwhile_goes_first(tmp_path: Path) -> None:
    broker, fetcher = opened(tmp_path)
    broker.end(LABELS)
    broker.put(EVENTS, 0, minute=5)
    broker.end(EVENTS)
    broker.ends = {EVENTS: 1, LABELS: 1}

    broker.is_away = True
    assert offsets(fetcher) == {}
    broker.is_away = False
    assert offsets(fetcher) == {}
    broker.put(LABELS, 0, minute=4)
    broker.end(LABELS)

    assert offsets(fetcher) == {"events": [0], "labels": [0]}


def test_steps_within_the_slack_ask_nobody(tmp_path: Path) -> None:
    broker, fetcher = opened(tmp_path)
    broker.end(LABELS)
    broker.put(EVENTS, 0, minute=5)
    broker.end(EVENTS)
    broker.ends = {EVENTS: 1, LABELS: 0}
    assert offsets(fetcher) == {"events": [0]}

    broker.is_away = True
    broker.put(EVENTS, 1, minute=5)
    broker.end(EVENTS)

    assert offsets(fetcher) == {"events": [1]}
    assert broker.asked == 1
