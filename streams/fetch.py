"""Messages out of Kafka, aligned by arrival, as one batch for each topic."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message, TopicPartition
from numpy.typing import NDArray

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.kafka_clients import take
from headrace.logging import get_logger
from streams.alignment import Lane, release_limit_us

__all__ = ["Fetcher", "MessageBatch"]

_AT_ONCE = 500
"""Messages of one call: few enough to stay in cache (three times faster than 10,000)."""
_FEW = 20
_MORE_S = 0.005
"""With a backlog (at least this part of a full batch) the next messages are worth a moment: they are on their way."""
_LANE_ROWS = 200_000
"""A lane with more waiting messages is paused until half of them are gone."""
_STUCK_S = 5.0
"""Longest wait for a partition that is behind, whatever the alignment says; its leader may be away."""

_LOG = get_logger(__name__)

Headers = Mapping[str, bytes]
Place = tuple[str, int]
"""Topic and partition."""
Ends = Callable[[Collection[Place]], Mapping[Place, int]]
"""Asks the broker for the offset after the last message of partitions; raises UnavailableError."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MessageBatch:
    """Messages of one topic; those of one partition are in offset order."""

    topic: str
    values: list[bytes | None]
    keys: list[bytes | None]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    arrivals_us: NDArray[np.int64]
    headers: dict[int, Headers]
    """Row -> headers, of messages with an empty value only."""

    def __len__(self) -> int:
        return len(self.values)


class Fetcher:
    """Reads partitions assigned by hand.

    Args:
        settings: where the broker is.
        consumer: made with ``enable.partition.eof``.
        ends: asks the broker how far partitions go.
        slack_us: arrival by which one partition may be ahead of another.
    """

    def __init__(self, settings: Settings, consumer: Any, *, ends: Ends, slack_us: int) -> None:
        self._settings = settings
        self._consumer = consumer
        self._ends = ends
        self._slack_us = slack_us
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._headers: dict[tuple[str, int], dict[int, Headers]] = {}
        self._paused: set[tuple[str, int]] = set()
        self.has_backlog = False
        """Whether the last fetch read or gave so much that there is likely more at once."""
        self._starved_s: float | None = None
        """Since when nothing has come from the broker although messages wait here."""
        self._released_us = -(2**63)
        """Newest arrival that was ever let through."""
        self._is_in_the_dark = False
        """Whether the broker did not answer when it was last asked for ends."""

    def assign(self, starts: Mapping[tuple[str, int], int]) -> None:
        """Read these partitions, (topic, number) -> first offset."""
        self._lanes = {place: Lane(first) for place, first in starts.items()}
        self._headers = {place: {} for place in starts}
        self._paused = set()
        self._consumer.assign([TopicPartition(topic, number, first) for (topic, number), first in starts.items()])

    def is_at_end(self, topic: str, partition: int) -> bool:
        """Whether everything in the partition has been fetched and released."""
        lane = self._lanes[topic, partition]
        return lane.at_end and not len(lane)

    def _all_at_end(self) -> bool:
        return all(lane.at_end for lane in self._lanes.values())

    def ask_ends(self, places: Collection[tuple[str, int]]) -> None:
        """Ask the broker whether these partitions, read to their ends, have grown since.

        Raises:
            UnavailableError: it does not answer; nothing has changed then.
        """
        for place, end in self._ends(places).items():
            self._lanes[place].at_end = end <= self._lanes[place].end_offset

    def fetch(self, max_rows: int, wait_s: float) -> list[MessageBatch]:
        """What may be processed now; waits for a first message only.

        Args:
            max_rows: most messages to read, and about the most to give.
            wait_s: longest wait when nothing is there.
        """
        waiting = sum(map(len, self._lanes.values()))
        fetched = self._read(1, 0.0 if waiting else wait_s)
        while fetched and fetched < max_rows:
            count = self._read(_AT_ONCE, 0)
            if not count and fetched * _FEW > max_rows and not self._all_at_end():
                count = self._read(1, _MORE_S)
            if not count:
                break
            fetched += count
        if fetched or not waiting:
            self._starved_s = None
        elif self._starved_s is None:
            self._starved_s = time.monotonic()
        batches = self._release(max_rows) if self._knows_ends() else []
        self.has_backlog = (fetched + sum(map(len, batches))) * _FEW > max_rows
        if waiting and not batches and not fetched:
            self._read(1, min(wait_s, 0.005))  # held back by a partition whose messages are on their way
        return batches

    def _read(self, count: int, wait_s: float) -> int:
        """Move messages into their lanes; how many there were, ends of partitions included."""
        messages = take(self._consumer, count, wait_s, self._settings.kafka.bootstrap)
        places = list(zip(map(Message.topic, messages), map(Message.partition, messages), strict=True))
        is_end = any(map(Message.error, messages))
        if not is_end and len(set(places)) == 1:  # messages come in long runs of one partition
            self._add(places[0], messages)
            return len(messages)
        for (place, is_message), run in groupby(
            zip(places, messages, strict=True), lambda pair: (pair[0], pair[1].error() is None)
        ):
            if is_message:
                self._add(place, [message for _, message in run])
            else:
                self._lanes[place].at_end = True
        return len(messages)

    def _add(self, place: tuple[str, int], run: list[Any]) -> None:
        # One pass for each attribute: the calls are most of the work.
        values, offsets = list(map(Message.value, run)), list(map(Message.offset, run))
        if run[0].timestamp()[0] == TIMESTAMP_NOT_AVAILABLE:
            arrivals_us = np.full(len(run), time.time_ns() // 1000)
        else:
            arrivals_us = np.array([stamp_ms for _, stamp_ms in map(Message.timestamp, run)]) * 1000
        if not all(values):
            for message, value, offset in zip(run, values, offsets, strict=True):
                if not value:
                    self._headers[place][offset] = _headers_of(message)
        lane = self._lanes[place]
        lane.add(values, list(map(Message.key, run)), offsets, arrivals_us)
        if len(lane) > _LANE_ROWS and place not in self._paused:
            self._paused.add(place)
            self._consumer.pause([TopicPartition(*place)])

    def _knows_ends(self) -> bool:
        """Whether it is certain which partitions are at their ends; everything waits until it is.

        Messages of a partition that had been read to its end may lie at the broker and not here; other partitions
        must not run ahead of them. So the broker is asked before arrival time moves on by more than the slack. Live
        this asks nothing: arrival time moves in small steps.
        """
        ended = [place for place, lane in self._lanes.items() if lane.at_end]
        newest_us = max((lane.newest_us for lane in self._lanes.values() if len(lane)), default=-(2**63))
        if not ended or newest_us <= self._released_us + self._slack_us:
            return True
        try:
            self.ask_ends(ended)
        except UnavailableError as error:
            if not self._is_in_the_dark:
                _LOG.warning("waiting for the broker to say where partitions end", why=error.args[0])
            self._is_in_the_dark = True
            return False
        self._is_in_the_dark = False
        return True

    def _release(self, max_rows: int) -> list[MessageBatch]:
        limit_us = release_limit_us(self._lanes.values(), self._slack_us, max_rows)
        if self._starved_s is not None and time.monotonic() - self._starved_s > _STUCK_S:
            limit_us = 2**63 - 1
        taken: dict[str, list[tuple[int, Lane]]] = {}
        for (topic, number), lane in self._lanes.items():
            if len(lane):
                part = lane.release(limit_us)
                if len(part):
                    self._released_us = max(self._released_us, part.newest_us)
                    taken.setdefault(topic, []).append((number, part))
        for place in [place for place in self._paused if len(self._lanes[place]) < _LANE_ROWS // 2]:
            self._paused.discard(place)
            self._consumer.resume([TopicPartition(*place)])
        return [self._batch(topic, parts) for topic, parts in taken.items()]

    def _batch(self, topic: str, parts: list[tuple[int, Lane]]) -> MessageBatch:
        values: list[bytes | None] = []
        keys: list[bytes | None] = []
        headers: dict[int, Headers] = {}
        for number, part in parts:
            waiting = self._headers[topic, number]
            if waiting:
                rows = {offset: row for row, offset in enumerate(part.offsets, len(values)) if offset in waiting}
                headers.update({row: waiting.pop(offset) for offset, row in rows.items()})
            values.extend(part.values)
            keys.extend(part.keys)
        sizes = [len(part) for _, part in parts]
        return MessageBatch(
            topic=topic,
            values=values,
            keys=keys,
            partitions=np.repeat(np.array([number for number, _ in parts], dtype=np.int32), sizes),
            offsets=np.concatenate([np.array(part.offsets, dtype=np.int64) for _, part in parts]),
            arrivals_us=np.concatenate([np.array(part.arrivals_us, dtype=np.int64) for _, part in parts]),
            headers=headers,
        )


def _headers_of(message: Any) -> dict[str, bytes]:
    return {name: value or b"" for name, value in message.headers() or ()}
