"""A monitor reads labels in the format their topic declares, and waits for a registry that is away."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from feature_store.ids import event_id64
from headrace import Avro, EventStream, Int64, Json, LabelStream
from headrace.contracts.messages import MessageRow
from headrace.errors import UnavailableError
from headrace.spec.formats import Format
from monitors.label_reader import LabelReader

SALES = EventStream("sales", key="card", time="at", id="sale", schema={"card": Int64})


@dataclass
class Held:
    """A message as librdkafka gives it."""

    content: bytes

    def value(self) -> bytes:
        return self.content

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_600_000_000_000


class Registry:
    """A reader whose registry is away at first."""

    def __init__(self, *, away: int, stop: threading.Event, then_stop: bool = False) -> None:
        self._away, self._stop, self._then_stop = away, stop, then_stop
        self.asked = 0

    def read(self, values: Sequence[bytes], arrivals_us: Sequence[int]) -> tuple[list[MessageRow], int]:
        self.asked += 1
        if self._then_stop:
            self._stop.set()
        if self.asked <= self._away:
            raise UnavailableError("the registry does not answer")
        return [MessageRow(0, {"sale": 7, "fraud": 1}), MessageRow(0, {"sale": 8, "fraud": 0})], 3


def frauds(form: Format) -> LabelStream:
    return LabelStream("frauds", of=SALES, value="fraud", delay="1h", format=form)


def test_a_message_may_hold_many_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.label_reader._RETRY_S", 0.001)
    stop = threading.Event()
    registry = Registry(away=2, stop=stop)
    reader = LabelReader(frauds(Avro()), lambda _: registry, stop)

    labels = reader.read(Held(b"x"))

    assert [(label.event_id, label.value) for label in labels] == [(event_id64("7"), 1), (event_id64("8"), 0)]
    assert (registry.asked, reader.refused) == (3, 3)


def test_a_message_is_not_taken_when_told_to_stop_meanwhile() -> None:
    stop = threading.Event()
    reader = LabelReader(frauds(Avro()), lambda _: Registry(away=9, stop=stop, then_stop=True), stop)

    with pytest.raises(UnavailableError):
        reader.read(Held(b"x"))


def test_json_needs_nobody_elses_reader() -> None:
    def never(_: object) -> Registry:
        raise AssertionError("JSON is read here")

    (label,) = LabelReader(frauds(Json()), never, threading.Event()).read(Held(b'{"sale": 7, "fraud": 1}'))

    assert (label.event_id, label.value) == (event_id64("7"), 1)
