"""Messages of one keyed log, a stretch of offsets at a time."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from confluent_kafka import TopicPartition

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.kafka_clients import consumer, take, watermarks
from streams.logs.keyed_log import KeyedBatch, decode_batch

__all__ = ["KeyedReader"]

_AT_ONCE = 200
_WAIT_S = 1.0
_MOST_WAITS = 30


class KeyedReader:
    """Reads any partition of a keyed log, without a group's offsets.

    Args:
        settings: where the broker is.
        topic: the keyed log.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic, self._bootstrap = topic, settings.kafka.bootstrap
        self._consumer = consumer(settings, f"{topic}.look", config={"auto.offset.reset": "error"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def bounds(self, partition: int) -> tuple[int, int]:
        """Oldest offset, and the offset after the newest.

        Raises:
            UnavailableError: the broker does not answer.
        """
        return watermarks(self._consumer, self._topic, partition, self._bootstrap)

    def read(self, partition: int, start: int, stop: int) -> Iterator[tuple[int, KeyedBatch]]:
        """Messages with offsets from ``start`` to before ``stop``.

        Raises:
            UnavailableError: the broker does not answer.
            IntegrityError: a message is none of a keyed log.
        """
        if start >= stop:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, start)])
        waits = 0
        while True:
            messages = take(self._consumer, _AT_ONCE, _WAIT_S, self._bootstrap)
            waits = 0 if messages else waits + 1
            if waits > _MOST_WAITS:
                raise UnavailableError(
                    f"{self._topic}:{partition} gives nothing from offset {start} on", hint="see `headrace status`"
                )
            for message in messages:
                start = message.offset()
                if start < stop:
                    yield start, decode_batch(message.value())
                if start >= stop - 1:
                    self._consumer.unassign()
                    return
