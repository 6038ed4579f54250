"""Producing to Kafka: idempotent, bounded, and loud when something was not delivered."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from headrace.config import Settings
from headrace.contracts.codec import encode
from headrace.contracts.topics import Topic
from headrace.errors import UnavailableError
from headrace.kafka_clients import make_client, translate

__all__ = ["Sender"]

FLUSH_S = 120.0
"""Longest wait for a delivery; covers a broker that restarts after a crash (12 s measured)."""


class Sender:
    """An idempotent producer whose ``flush`` raises when anything was not delivered.

    Args:
        settings: where the broker is.
        linger_ms: wait for more messages to share a request.
        compression: ``none`` for topics that Faust reads (aiokafka has no lz4 by default), ``lz4`` otherwise.
        config: more librdkafka settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        linger_ms: float = 2.0,
        compression: str = "none",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        base = {
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "compression.type": compression,
            "delivery.timeout.ms": int(FLUSH_S * 1000),
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 262_144,
            "batch.num.messages": 100_000,
            "delivery.report.only.error": True,
            "on_delivery": self._delivered,
        }
        self._bootstrap = settings.kafka.bootstrap
        self._failed: KafkaError | None = None
        self._producer = make_client(Producer, settings, {**base, **(config or {})})

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | str | None = None,
        partition: int = -1,
        headers: Mapping[str, bytes | str] | None = None,
        timestamp_ms: int = 0,
    ) -> None:
        """Queue one message; waits while the queue is full.

        Args:
            partition: -1 lets the hash of ``key`` decide.
            timestamp_ms: Kafka's message time; 0 is now.
        """
        extra: dict[str, Any] = {"headers": list(headers.items())} if headers else {}
        while True:
            try:
                self._producer.produce(topic, value, key, partition, timestamp=timestamp_ms, **extra)
            except BufferError:
                self._producer.poll(0.05)
                self._raise_failure()
            except KafkaException as error:
                raise translate(error, self._bootstrap) from error
            else:
                return

    def send_contract(self, topic: Topic, value: object, *, key: str) -> None:
        """Queue a contract as JSON."""
        self.send(topic.name, encode(value), key=key)

    def send_many(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        keys: Sequence[bytes | str | None] | None = None,
        timestamps_ms: Sequence[int] | None = None,
        partition: int = -1,
    ) -> None:
        """Queue many messages without headers.

        ``Producer.produce_batch`` knows no timestamps (2.16); this loop makes about half a million a second.
        """
        produce = self._producer.produce
        count = len(values)
        rows = zip(values, keys or (None,) * count, timestamps_ms or (0,) * count, strict=True)
        for value, key, timestamp_ms in rows:
            try:
                produce(topic, value, key, partition, None, None, timestamp_ms)
            except BufferError:
                self.send(topic, value, key=key, partition=partition, timestamp_ms=timestamp_ms)
            except KafkaException as error:
                raise translate(error, self._bootstrap) from error
        self.poll()

    def poll(self) -> None:
        """Let the client work.

        Raises:
            UnavailableError: an earlier message was not delivered.
        """
        self._producer.poll(0)
        self._raise_failure()

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until every queued message is acknowledged.

        Raises:
            UnavailableError: some were not.
        """
        left = self._producer.flush(timeout_s)
        self._raise_failure()
        if left:
            raise UnavailableError(
                f"{left} messages were not acknowledged by Kafka at {self._bootstrap} in {timeout_s:g} s",
                hint="check the broker with `headrace status`",
            )

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def _raise_failure(self) -> None:
        if self._failed is not None:
            failed, self._failed = self._failed, None
            raise translate(failed, self._bootstrap)
