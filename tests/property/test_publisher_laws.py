"""Laws of publishing: whatever the gaps, delays and calls, each event and each due label is sent once, none early."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import streams.publisher
from headrace.cli.publish import stretches
from headrace.config import Settings
from headrace.contracts.streams import WATERMARK_HEADER
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Int64
from streams.publisher import Publisher

SECOND_US = 1_000_000
PARTITIONS = 2


@dataclass
class Sent:
    """A sender that keeps what it was given, in place of the broker's."""

    messages: list[tuple[str, int, int]] = field(default_factory=list)
    """(topic, id, milliseconds), in the order of sending."""
    ticks: list[int] = field(default_factory=list)

    def send(
        self, topic: str, value: bytes | None, *, partition: int, headers: Mapping[str, str], timestamp_ms: int
    ) -> None:
        self.ticks.append(int(headers[WATERMARK_HEADER]))

    def send_many(
        self, topic: str, values: Sequence[bytes], *, keys: Sequence[str], timestamps_ms: Sequence[int]
    ) -> None:
        ids = [json.loads(value)["sale"] for value in values]
        self.messages += zip([topic] * len(ids), ids, timestamps_ms, strict=True)

    def flush(self) -> None:
        """Nothing waits."""

    def of(self, topic: str) -> list[tuple[int, int]]:
        return [(number, time_ms) for name, number, time_ms in self.messages if name == topic]


@pytest.fixture(scope="module", autouse=True)
def no_broker() -> Iterator[None]:
    """Publishers send to :class:`Sent`, a few rows a stretch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams.publisher, "Sender", lambda *_, **__: Sent())
        patch.setattr(streams.publisher, "ensure_topics", lambda *_: None)
        patch.setattr(streams.publisher, "partition_counts", lambda _, topics: dict.fromkeys(topics, PARTITIONS))
        patch.setattr(streams.publisher, "_CHUNK", 3)
        yield


def publisher_of(times_us: list[int], outcomes: list[int | None], delay_us: int) -> tuple[Publisher, Sent]:
    """A publisher of sales numbered in the order of their times."""
    stream = EventStream("sales", key="card", time="at", id="sale", schema={"card": Int64, "sale": Int64})
    labels = LabelStream("frauds", of=stream, value="fraud", delay=f"{delay_us}us")
    table = pa.table(
        {
            "sale": pa.array(range(len(times_us)), pa.int64()),
            "card": pa.array([0] * len(times_us), pa.int64()),
            "at": pa.array(sorted(times_us), pa.timestamp("us", "UTC")),
            "fraud": pa.array(outcomes[: len(times_us)], pa.int64()),
        }
    )
    publisher = Publisher(Settings(home=Path("nowhere")), None, stream, table, labels)  # type: ignore[arg-type]  # only topics of a project
    sent = publisher._sender
    assert isinstance(sent, Sent)
    return publisher, sent


def due_before(times_us: list[int], known: list[int], delay_us: int, until_us: int) -> list[tuple[int, int]]:
    """(id, milliseconds) of what happens before an instant, one by one."""
    times = sorted(times_us)
    return [(n, (times[n] + delay_us) // 1000) for n in known if times[n] + delay_us < until_us]


# Some gaps hold many stretches, some none; milliseconds so that message times say which is which.
gaps_us = st.integers(0, 40).map(lambda ms: ms * 1000) | st.integers(0, 5).map(lambda days: days * 86_400 * SECOND_US)
all_times_us = st.lists(gaps_us, min_size=1, max_size=40).map(lambda gaps: np.cumsum(gaps).tolist())
all_outcomes = st.lists(st.sampled_from([0, 1, None]), min_size=40, max_size=40)


@given(times_us=all_times_us, outcomes=all_outcomes, delay_us=gaps_us, cuts=st.lists(st.floats(-0.1, 1.2), max_size=6))
def test_everything_due_is_sent_once_in_order_of_time_and_nothing_early(
    times_us: list[int], outcomes: list[int | None], delay_us: int, cuts: list[float]
) -> None:
    publisher, sent = publisher_of(times_us, outcomes, delay_us)
    everyone = list(range(len(times_us)))
    known = [number for number in everyone if outcomes[number] is not None]
    reached_us = -(2**62)
    # In any order: a call that comes back to an earlier instant sends nothing again.
    for until_us in [*(round(cut * publisher.end_us) for cut in cuts), publisher.end_us]:
        reached_us = max(reached_us, until_us)
        before = len(sent.of("sales"))

        count = publisher.publish_until(until_us)

        assert sent.of("sales") == due_before(times_us, everyone, 0, reached_us)
        assert sent.of("frauds") == due_before(times_us, known, delay_us, reached_us)
        assert count == len(sent.of("sales")) - before
        assert sent.ticks[-2 * PARTITIONS :] == [until_us] * 2 * PARTITIONS
    assert publisher.remaining == 0
    assert publisher.labels_sent == len(known) == len(sent.of("frauds"))


@given(times_us=all_times_us, outcomes=all_outcomes, delay_us=gaps_us)
def test_a_label_lies_before_the_events_of_its_instant_and_never_far_from_them(
    times_us: list[int], outcomes: list[int | None], delay_us: int
) -> None:
    publisher, sent = publisher_of(times_us, outcomes, delay_us)

    publisher.publish_until(publisher.end_us)

    for place, (topic, _, time_ms) in enumerate(sent.messages):
        later = [t for name, _, t in sent.messages[place + 1 :] if name != topic]
        if topic == "sales":
            assert all(t > time_ms for t in later), "its labels are there"
        else:
            assert len({t for t in later if t < time_ms}) <= 3, "at most a stretch follows; equal times share one"


@given(times_us=all_times_us, outcomes=all_outcomes, delay_us=gaps_us, speed=st.none() | st.floats(1e5, 1e9))
def test_at_any_speed_everything_is_sent_and_nothing_before_its_time_on_the_clock(
    times_us: list[int], outcomes: list[int | None], delay_us: int, speed: float | None
) -> None:
    publisher, sent = publisher_of(times_us, outcomes, delay_us)
    first_us = publisher.span_us[0]
    count, at_s = 0, 0.0
    for until_us, due_s in stretches(first_us, publisher.end_us, speed):
        already = len(sent.messages)

        count += publisher.publish_until(until_us)

        assert due_s >= at_s
        at_s = due_s
        for _, _, time_ms in sent.messages[already:]:
            assert speed is None or (time_ms * 1000 - first_us) / (speed * SECOND_US) <= due_s
    known = [number for number in range(len(times_us)) if outcomes[number] is not None]
    assert count == len(times_us)
    assert sent.of("sales") == due_before(times_us, list(range(len(times_us))), 0, publisher.end_us)
    assert sent.of("frauds") == due_before(times_us, known, delay_us, publisher.end_us)
