"""The rollout record and its history in Redis: one record per model, replaced only by a larger epoch.

The epoch is the fence. Two writers that read the same record both try the next epoch; Redis lets the first one in
and the second learns that it was overtaken. Record and audit line are written in one atomic step.
"""

from collections.abc import Sequence
from typing import Any

import redis

from headrace.config import Settings
from headrace.contracts.codec import decode, encode
from headrace.contracts.redis_keys import rollout_history_key, rollout_key
from headrace.contracts.rollout import RolloutChange, RolloutRecord
from headrace.contracts.topics import DEPLOYMENTS
from headrace.errors import ConfigError, HeadraceError, UnavailableError

__all__ = ["RolloutStore", "announce"]

ANSWER_S = 5.0
"""Longest wait for Redis."""

_WRITE = """
local stored = redis.call('GET', KEYS[1])
if stored and cjson.decode(stored)['epoch'] >= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
return 1
"""


class RolloutStore:
    """Reads and writes rollout records; safe to share between threads.

    Args:
        redis_url: address of Redis.
        client: a client to use instead (tests).
    """

    def __init__(self, redis_url: str, *, client: Any = None) -> None:
        self._redis: Any = client or redis.Redis.from_url(
            redis_url, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S
        )
        self._write = self._redis.register_script(_WRITE)

    def read(self, model: str) -> RolloutRecord | None:
        """The record in force; None when the model never had one.

        Raises:
            UnavailableError: Redis does not answer.
            IntegrityError: the stored bytes are no record.
        """
        try:
            data = self._redis.get(rollout_key(model))
        except redis.RedisError as error:
            raise _translate(error) from error
        return None if data is None else decode(data, RolloutRecord)

    def write(self, change: RolloutChange) -> bool:
        """Put ``change.record`` in force and append the change to the history, atomically.

        Returns:
            False when a record with an equal or larger epoch is in force; nothing was written then.

        Raises:
            UnavailableError: Redis does not answer. Whether the write happened is unknown; read before trying again.
        """
        record = change.record
        keys = [rollout_key(record.model), rollout_history_key(record.model)]
        try:
            return bool(self._write(keys=keys, args=[record.epoch, encode(record), encode(change)]))
        except redis.RedisError as error:
            raise _translate(error) from error

    def history(self, model: str, *, last: int = 0) -> Sequence[RolloutChange]:
        """Changes of a model, oldest first; the newest ``last`` of them, or all when 0.

        Raises:
            UnavailableError: Redis does not answer.
        """
        try:
            rows = self._redis.lrange(rollout_history_key(model), -last, -1)
        except redis.RedisError as error:
            raise _translate(error) from error
        return [decode(row, RolloutChange) for row in rows]

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()


def announce(settings: Settings, change: RolloutChange, *, timeout_s: float = 10.0) -> None:
    """Publish a change that was written to the deployments topic; the duty of whoever wrote it.

    Consumers know a change by its epoch, so announcing one twice is harmless.

    Raises:
        UnavailableError: Kafka did not take it in ``timeout_s``.
    """
    from headrace.kafka_clients import ensure_topics  # Kafka only where something is announced
    from headrace.kafka_sender import Sender

    ensure_topics(settings, [DEPLOYMENTS])
    sender = Sender(settings, linger_ms=0, config={"delivery.timeout.ms": int(timeout_s * 1000)})
    sender.send_contract(DEPLOYMENTS, change, key=change.record.model)
    sender.flush(timeout_s + 1)


def _translate(error: redis.RedisError) -> HeadraceError:
    if isinstance(error, redis.AuthenticationError):
        return ConfigError(f"Redis refuses these credentials: {error}", hint="correct redis.url")
    return UnavailableError(
        f"Redis does not answer: {error}",
        hint="start the embedded stack with `headrace up`, or set redis.url to a running server",
    )
