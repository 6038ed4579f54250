"""Reads messages in blocks: librdkafka hands out pointers, one kernel copies what they point to."""

import time
from collections.abc import Collection, Mapping
from typing import Any
from weakref import finalize

import numpy as np
from confluent_kafka import KafkaError, TopicPartition
from numpy.typing import NDArray

from headrace.kafka_clients import check_passing
from streams.messages.librdkafka import Librdkafka
from streams.messages.message_kernels import EMPTY, FAILED, measure, move, release
from streams.messages.message_runs import Headers, MessageRun, Place
from streams.messages.payloads import Payloads

__all__ = ["NativeReader"]

I64 = NDArray[np.int64]
_POLL_EVERY_S = 0.1
_SHARED = 4
"""A partition with less than this part of a block gets memory of its own: it may wait long, and would keep the rest."""


class NativeReader:
    """A MessageReader that costs about 0.1 microseconds a message.

    Args:
        library: from :func:`streams.messages.librdkafka.find_librdkafka`.
        consumer: a ``confluent_kafka.Consumer``.
        bootstrap: the broker's address, for errors.
    """

    at_once = 2_000
    """With their bytes they just fit into a core's cache."""

    def __init__(self, library: Librdkafka, consumer: Any, bootstrap: str) -> None:
        self._library = library
        self._bootstrap = bootstrap
        self._consumer = consumer
        self._queue = library.open_queue(consumer)
        self._forwarded: set[Place] = set()
        # A worker that fails must not hang in the end of its consumer.
        self._close = finalize(self, library.close_queue, self._queue, consumer, self._forwarded)
        self._timestamp = library.address("rd_kafka_message_timestamp")
        self._destroy = library.address("rd_kafka_message_destroy")
        self._polled_s = 0.0
        self._time_kind = np.zeros(1, dtype=np.int32)
        self._make_room(self.at_once)

    def add(self, starts: Mapping[Place, int]) -> None:
        self._forwarded.update(starts)
        for place in starts:
            # Each time: librdkafka undoes it when a partition is given up.
            self._library.fill_queue(self._queue, self._consumer, *place)
        self._consumer.incremental_assign([TopicPartition(*place, first) for place, first in starts.items()])

    def remove(self, places: Collection[Place]) -> None:
        # What of them lies in the queue is passed over by librdkafka: it is of a former assignment.
        self._consumer.incremental_unassign([TopicPartition(*place) for place in places])

    def read(self, count: int, wait_s: float) -> list[MessageRun]:
        self._poll()
        assert self._close.alive, "the reader is closed"
        if count > len(self._messages):
            self._make_room(count)
        taken = self._consume(0, 1 if wait_s else count, wait_s)
        if wait_s and 0 < taken < count:
            taken += self._consume(taken, count - taken, 0)
        return self._runs(taken) if taken else []

    def close(self) -> None:
        self._close()

    def _consume(self, first: int, count: int, wait_s: float) -> int:
        """Put messages behind the first so many; waits for ``count`` of them."""
        wait_ms, address = int(wait_s * 1000 + 0.999), self._messages.ctypes.data + 8 * first
        taken = int(self._library.functions.rd_kafka_consume_batch_queue(self._queue, wait_ms, address, count))
        if taken < 0:
            check_passing(KafkaError(self._library.functions.rd_kafka_last_error()), self._bootstrap)
        return max(taken, 0)

    def _poll(self) -> None:
        """What is no message of a partition still comes through the consumer, and so do its callbacks."""
        now_s = time.monotonic()
        if now_s - self._polled_s < _POLL_EVERY_S:
            return
        self._polled_s = now_s
        while (stray := self._consumer.poll(0)) is not None:
            assert stray.error() is not None, f"a message of {stray.topic()}:{stray.partition()} went astray"
            check_passing(stray.error(), self._bootstrap)

    def _make_room(self, count: int) -> None:
        self._messages = np.empty(count, dtype=np.int64)
        self._marks = np.empty(count, dtype=np.uint8)
        self._places = np.empty(count, dtype=np.int32)
        self._topics, self._rows = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        self._value_bytes, self._key_bytes = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        self._partitions, self._at_end = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.uint8)

    def _runs(self, taken: int) -> list[MessageRun]:
        found, failed, empty = measure(
            self._messages,
            taken,
            self._marks,
            self._places,
            self._topics,
            self._partitions,
            self._rows,
            self._value_bytes,
            self._key_bytes,
            self._at_end,
        )
        try:
            if failed:
                self._raise_failures(taken)
            names = [self._library.topic_name(topic) for topic in self._topics[:found].tolist()]
            headers = self._headers(taken, found) if empty else [{} for _ in range(found)]
            block = _Block(self._rows[:found], self._value_bytes[:found], self._key_bytes[:found])
        except BaseException:
            release(self._messages, taken, self._destroy)
            raise
        move(
            self._messages,
            taken,
            self._marks,
            self._places,
            block.row_bounds[:-1].copy(),
            block.value_starts.copy(),
            block.key_starts.copy(),
            time.time_ns() // 1000,
            self._timestamp,
            self._destroy,
            self._time_kind,
            block.values,
            block.value_bounds,
            block.keys,
            block.key_bounds,
            block.missing,
            block.offsets,
            block.arrivals_us,
        )
        return [
            block.run(
                place,
                topic=names[place],
                partition=int(self._partitions[place]),
                headers=headers[place],
                at_end=bool(self._at_end[place]),
            )
            for place in range(found)
        ]

    def _headers(self, taken: int, found: int) -> list[dict[int, Headers]]:
        """Offset -> headers of messages with an empty value, for each partition found."""
        by_place: list[dict[int, Headers]] = [{} for _ in range(found)]
        for i in np.flatnonzero(self._marks[:taken] == EMPTY).tolist():
            message = int(self._messages[i])
            by_place[int(self._places[i])][self._library.offset(message)] = self._library.headers(message)
        return by_place

    def _raise_failures(self, taken: int) -> None:
        for i in np.flatnonzero(self._marks[:taken] == FAILED).tolist():
            message = int(self._messages[i])
            check_passing(self._library.error(message), self._bootstrap)


class _Block:
    """Columns of one read, the messages of a partition together."""

    def __init__(self, rows_P: I64, value_bytes_P: I64, key_bytes_P: I64) -> None:
        places, rows = len(rows_P), int(rows_P.sum())
        self.row_bounds = np.zeros(places + 1, dtype=np.int64)
        np.cumsum(rows_P, out=self.row_bounds[1:])
        self.value_starts, self.key_starts = (
            np.cumsum(value_bytes_P) - value_bytes_P,
            np.cumsum(key_bytes_P) - key_bytes_P,
        )
        self.values = np.empty(int(value_bytes_P.sum()), dtype=np.uint8)
        self.keys = np.empty(int(key_bytes_P.sum()), dtype=np.uint8)
        # One bound more than rows for each partition.
        self.value_bounds = np.empty(rows + places, dtype=np.int64)
        self.key_bounds = np.empty(rows + places, dtype=np.int64)
        firsts = self.row_bounds[:-1] + np.arange(places)
        self.value_bounds[firsts], self.key_bounds[firsts] = self.value_starts, self.key_starts
        self.missing = np.empty(rows, dtype=np.uint8)
        self.offsets, self.arrivals_us = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.int64)

    def run(self, place: int, *, topic: str, partition: int, headers: dict[int, Headers], at_end: bool) -> MessageRun:
        """Messages of one partition."""
        start, stop = int(self.row_bounds[place]), int(self.row_bounds[place + 1])
        bounds = slice(start + place, stop + place + 1)
        values, keys = Payloads(self.values, self.value_bounds[bounds]), Payloads(self.keys, self.key_bounds[bounds])
        if values.size * _SHARED < len(self.values):
            values, keys = values.copy(), keys.copy()
        return MessageRun(
            topic=topic,
            partition=partition,
            values=values,
            keys=keys,
            missing=self.missing[start:stop],
            offsets=self.offsets[start:stop],
            arrivals_us=self.arrivals_us[start:stop],
            headers=headers,
            at_end=at_end,
        )
