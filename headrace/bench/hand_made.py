"""The two views of the benchmark as a careful user writes them in a per-event framework: deques, one key at a time.

The peer of ``headrace bench stream``. It forgives itself what the engine does not: late events go to the end of a
deque, duplicates count twice, and nothing survives a crash.
"""

from collections import deque
from typing import Any

import redis

from feature_store.online.online_layout import (
    encode_timestamp,
    encode_value,
    entity_key,
    feature_field,
    timestamp_field,
)

__all__ = ["HandMade"]

DAY_US = 86_400_000_000
WINDOWS_US = (1 * DAY_US, 7 * DAY_US, 30 * DAY_US)
_FLUSH_EVENTS = 1_000


class HandMade:
    """Features of customers and terminals, written to Redis in Feast's layout a thousand events at a time."""

    def __init__(self, redis_url: str, project: str) -> None:
        self._project = project
        self._pipeline = redis.Redis.from_url(redis_url).pipeline(transaction=False)
        self._waiting = 0
        self._customers: dict[int, list[_Window]] = {}
        self._terminals: dict[int, list[_Window]] = {}
        self._customer_fields, self._terminal_fields = _fields("customer_activity"), _fields("terminal_activity")

    def event(self, at_us: int, customer: int, terminal: int, amount: float) -> None:
        """A transaction: six values of its customer, six of its terminal."""
        spent = _spent(self._customers, customer, at_us, amount)
        self._write("customer_id", customer, "customer_activity", self._customer_fields, spent, at_us)
        taken = _spent(self._terminals, terminal, at_us, amount)
        self._write("terminal_id", terminal, "terminal_activity", self._terminal_fields, taken, at_us)
        self._waiting += 1
        if self._waiting >= _FLUSH_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        self._pipeline.execute()
        self._waiting = 0

    def _write(
        self, entity: str, key: int, view: str, fields: list[bytes], values: list[tuple[int, float]], at_us: int
    ) -> None:
        row: dict[Any, Any] = {timestamp_field(view): encode_timestamp(at_us)}
        for place, (count, mean) in enumerate(values):
            row[fields[place]] = encode_value(count, is_int=True)
            row[fields[place + 3]] = encode_value(mean, is_int=False)
        self._pipeline.hset(entity_key(entity, key, self._project), mapping=row)  # type: ignore[arg-type] # bytes are a key


class _Window:
    """Count and sum of the events of one key within a length of time."""

    __slots__ = ("_events", "_length_us", "count", "total")

    def __init__(self, length_us: int) -> None:
        self._length_us = length_us
        self._events: deque[tuple[int, float]] = deque()
        self.count = 0
        self.total = 0.0

    def add(self, at_us: int, value: float) -> None:
        self._events.append((at_us, value))
        self.count += 1
        self.total += value

    def drop(self, now_us: int) -> None:
        oldest_us = now_us - self._length_us
        events = self._events
        while events and events[0][0] <= oldest_us:
            self.total -= events.popleft()[1]
            self.count -= 1


def _spent(keys: dict[int, list[_Window]], key: int, at_us: int, amount: float) -> list[tuple[int, float]]:
    """Count and mean of each window of a key, this event included."""
    windows = keys.get(key)
    if windows is None:
        windows = keys[key] = [_Window(length) for length in WINDOWS_US]
    values = []
    for window in windows:
        window.add(at_us, amount)
        window.drop(at_us)
        values.append((window.count, window.total / window.count))
    return values


def _fields(view: str) -> list[bytes]:
    return [
        feature_field(view, f"{name}_{days}") for name in ("count", "mean_tx_amount") for days in ("1d", "7d", "30d")
    ]
