"""What the fetcher lets through while the broker does not say where partitions end."""

from collections.abc import Collection, Mapping

import pytest

from headrace.errors import UnavailableError
from streams.messages.fetch import Fetcher
from streams.messages.message_runs import MessageRun, Place
from tests.message_runs import message_run

MINUTE_US = 60_000_000
EVENTS, LABELS = ("events", 0), ("labels", 0)


class Broker:
    """Hands over what was put into it, and says where partitions end, or does not: consumer and reader in one."""

    at_once = 100

    def __init__(self) -> None:
        self.runs: list[MessageRun] = []
        self.ends: dict[Place, int] = {}
        self.is_away = False
        self.asked = 0

    def put(self, place: Place, offset: int, minute: int) -> None:
        """One message, the last of its partition."""
        self.runs.append(message_run(*place, offset, [minute * MINUTE_US], at_end=True))

    def end(self, place: Place) -> None:
        self.runs.append(message_run(*place, 0, [], at_end=True))

    def read(self, _count: int, _wait_s: float) -> list[MessageRun]:
        given, self.runs = self.runs, []
        return given

    def close(self) -> None:
        pass

    def add(self, _starts: Mapping[Place, int]) -> None:
        pass

    def remove(self, _places: Collection[Place]) -> None:
        pass

    def latest(self, places: Collection[Place]) -> Mapping[Place, int]:
        self.asked += 1
        if self.is_away:
            raise UnavailableError("the broker is away")
        return {place: self.ends[place] for place in places}


def opened() -> tuple[Broker, Fetcher]:
    broker = Broker()
    fetcher = Fetcher(broker, broker, ends=broker.latest, slack_us=0)
    fetcher.add({EVENTS: 0, LABELS: 0})
    return broker, fetcher


def offsets(fetcher: Fetcher) -> dict[str, list[int]]:
    return {batch.topic: batch.offsets.tolist() for batch in fetcher.fetch(100, 0.0)}


def test_messages_wait_while_the_broker_does_not_say_where_the_others_end() -> None:
    broker, fetcher = opened()
    broker.end(LABELS)
    broker.put(EVENTS, 0, minute=5)
    broker.ends = {EVENTS: 1, LABELS: 0}

    broker.is_away = True
    held = [offsets(fetcher), offsets(fetcher)]
    broker.is_away = False

    assert held == [{}, {}]
    assert offsets(fetcher) == {"events": [0]}


def test_a_partition_that_grew_meanwhile_goes_first() -> None:
    broker, fetcher = opened()
    broker.end(LABELS)
    broker.put(EVENTS, 0, minute=5)
    broker.ends = {EVENTS: 1, LABELS: 1}

    broker.is_away = True
    assert offsets(fetcher) == {}
    broker.is_away = False
    assert offsets(fetcher) == {}
    broker.put(LABELS, 0, minute=4)

    assert offsets(fetcher) == {"events": [0], "labels": [0]}


def test_steps_within_the_slack_ask_nobody() -> None:
    broker, fetcher = opened()
    broker.end(LABELS)
    broker.put(EVENTS, 0, minute=5)
    broker.ends = {EVENTS: 1, LABELS: 0}
    assert offsets(fetcher) == {"events": [0]}

    broker.is_away = True
    broker.put(EVENTS, 1, minute=5)

    assert offsets(fetcher) == {"events": [1]}
    assert broker.asked == 1


def test_nothing_runs_ahead_of_a_partition_whose_broker_is_away_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.messages.fetch._STUCK_S", -1.0)  # every wait is a long one
    broker, fetcher = opened()
    broker.runs = [
        message_run(*EVENTS, 0, [5 * MINUTE_US], at_end=False),
        message_run(*LABELS, 0, [2 * MINUTE_US], at_end=False),
    ]
    broker.ends = {EVENTS: 1, LABELS: 2}
    broker.is_away = True
    assert [offsets(fetcher) for _ in range(3)] == [{"labels": [0]}, {}, {}]

    broker.is_away = False
    assert offsets(fetcher) == {}
    broker.runs = [message_run(*LABELS, 1, [4 * MINUTE_US], at_end=False)]
    assert offsets(fetcher) == {"labels": [1]}

    assert offsets(fetcher) == {"events": [0]}, "the end that nobody had said was asked for"
