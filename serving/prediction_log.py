"""Predictions, and rollbacks this server made, to Kafka: never in the way of an answer.

The client's queue is the spool: bounded, sent when the broker is back. What does not fit, or outlives
``KEEP_S``, is dropped and counted.
"""

import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, Producer

from headrace.config import Settings
from headrace.contracts.codec import encode
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.rollout import RolloutChange
from headrace.contracts.topics import DEPLOYMENTS, PREDICTIONS
from headrace.errors import HeadraceError
from headrace.kafka_clients import ensure_topics, make_client
from headrace.logging import get_logger

__all__ = ["PredictionLog"]

SPOOL_MESSAGES = 200_000
SPOOL_KBYTES = 262_144
KEEP_S = 900
"""A prediction not delivered by then is dropped: longer than a broker's restart, shorter than forever."""
_RETRY_S = 2.0
_log = get_logger(__name__)


class PredictionLog:
    """Writes without waiting; safe to share between threads.

    Args:
        settings: where the broker is.
        config: librdkafka settings over the defaults here.
    """

    def __init__(self, settings: Settings, *, config: Mapping[str, Any] | None = None) -> None:
        base = {
            "acks": "all",
            "linger.ms": 5,
            "queue.buffering.max.messages": SPOOL_MESSAGES,
            "queue.buffering.max.kbytes": SPOOL_KBYTES,
            "message.timeout.ms": KEEP_S * 1000,
            "delivery.report.only.error": True,
            "on_delivery": self._delivered,
        }
        self._settings = settings
        self._producer = make_client(Producer, settings, {**base, **(config or {})})
        self._written = self._dropped = 0
        self._count = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="prediction-log", daemon=True)
        self._thread.start()
        # Not waited for at the end: asking a broker that is away takes ten seconds.
        threading.Thread(target=self._make_topics, name="prediction-topics", daemon=True).start()

    @property
    def waiting(self) -> int:
        """Messages not yet acknowledged."""
        return len(self._producer)

    @property
    def written(self) -> int:
        """Messages taken since the start."""
        return self._written

    @property
    def dropped(self) -> int:
        """Messages given up since the start: the spool was full, or the broker was away too long."""
        return self._dropped

    def write(self, record: PredictionRecord) -> None:
        """Queue one prediction."""
        self._send(PREDICTIONS.name, encode(record), record.unit)

    def announce(self, change: RolloutChange) -> None:
        """Queue a change of the rollout record that this server wrote."""
        self._send(DEPLOYMENTS.name, encode(change), change.record.model)

    def flush(self, timeout_s: float) -> bool:
        """Wait until the spool is empty; whether it is."""
        return int(self._producer.flush(timeout_s)) == 0

    def close(self, timeout_s: float = 5.0) -> None:
        """Deliver what can be delivered in time; the rest is dropped and counted."""
        self._stop.set()
        self._thread.join()
        left = int(self._producer.flush(timeout_s))
        if left:
            self._drop(left)
            _log.warning("predictions not delivered", left=left)

    def _send(self, topic: str, value: bytes, key: str) -> None:
        try:
            self._producer.produce(topic, value, key)
        except BufferError:
            self._drop(1)
        else:
            with self._count:
                self._written += 1

    def _drop(self, count: int) -> None:
        with self._count:
            self._dropped += count

    def _delivered(self, error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            self._drop(1)

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.2)  # blocks outside the GIL

    def _make_topics(self) -> None:
        while not self._stop.is_set():
            try:
                ensure_topics(self._settings, [PREDICTIONS, DEPLOYMENTS])
            except HeadraceError as error:
                _log.warning("no broker for predictions; they wait in the spool", reason=error.args[0])
                self._stop.wait(_RETRY_S)
            else:
                return
