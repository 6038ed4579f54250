"""What monitors tell others through Redis: how far they are, and the newest evidence on a rollout.

Both can be lost without harm, so Redis being away never stops a monitor.
"""

from collections.abc import Mapping
from typing import Any

import redis

from headrace.clock import Clock
from headrace.contracts.codec import encode
from headrace.contracts.monitoring import RolloutEvidence
from headrace.contracts.redis_keys import evidence_key, monitor_progress_key
from headrace.logging import get_logger

__all__ = ["MonitorProgress"]

_ANSWER_S = 2.0
_log = get_logger(__name__)


class MonitorProgress:
    """Writes the progress of one monitor process.

    Args:
        redis_url: address of Redis.
        clock: wall clock.
    """

    def __init__(self, redis_url: str, clock: Clock) -> None:
        self._redis: Any = redis.Redis.from_url(redis_url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S)
        self._clock = clock
        self._is_away = False

    def tell(self, model: str, fields: Mapping[str, int]) -> None:
        """Say how far the monitor of a model is."""
        self._try(
            lambda: self._redis.hset(monitor_progress_key(model), mapping={**fields, "at_us": self._clock.now_us()})
        )

    def publish(self, evidence: RolloutEvidence) -> None:
        """Leave the newest evidence where people and the CLI look."""
        self._try(lambda: self._redis.set(evidence_key(evidence.model), encode(evidence)))

    def close(self) -> None:
        """Give the connection back."""
        self._redis.close()

    def _try(self, write: Any) -> None:
        try:
            write()
        except redis.RedisError as error:
            if not self._is_away:
                _log.warning("progress not written", reason=str(error))
            self._is_away = True
        else:
            self._is_away = False
