"""The two views of the benchmark as a careful user writes them by hand: deques, one key at a time.

What both peers of ``headrace bench stream`` run. It forgives itself what the engine does not: late events go to the end
of a deque, duplicates count twice, and nothing survives a crash.
"""

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import redis

from feature_store.online.online_layout import (
    encode_timestamp,
    encode_value,
    entity_key,
    feature_field,
    timestamp_field,
)

__all__ = ["HandMade", "Transaction", "decode"]

DAY_US = 86_400_000_000
WINDOWS_US = (1 * DAY_US, 7 * DAY_US, 30 * DAY_US)


class Transaction(msgspec.Struct):
    """Decoded straight into its types, which is faster than a dictionary."""

    transaction_id: int
    tx_datetime: datetime
    customer_id: int
    terminal_id: int
    tx_amount: float


decode = msgspec.json.Decoder(Transaction).decode
"""A message's value to its transaction."""


class HandMade:
    """Features of customers and terminals, written to Redis in Feast's layout.

    Args:
        redis_url: where.
        project: of the keys.
        flush_events: so many events are joined: each key they touch is written once, in one pipeline.
    """

    def __init__(self, redis_url: str, project: str, *, flush_events: int) -> None:
        self._project, self._flush_events = project, flush_events
        self._pipeline = redis.Redis.from_url(redis_url).pipeline(transaction=False)
        self._events = 0
        self._customers = _Entity("customer_id", "customer_activity")
        self._terminals = _Entity("terminal_id", "terminal_activity")

    def event(self, transaction: Transaction) -> None:
        """Six values of its customer, six of its terminal."""
        at_us = int(transaction.tx_datetime.timestamp() * 1_000_000)
        self._customers.add(transaction.customer_id, at_us, transaction.tx_amount)
        self._terminals.add(transaction.terminal_id, at_us, transaction.tx_amount)
        self._events += 1
        if self._events >= self._flush_events:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        for entity in (self._customers, self._terminals):
            for key, row in entity.rows():
                self._pipeline.hset(entity_key(entity.name, key, self._project), mapping=row)  # type: ignore[arg-type] # bytes are a key
        self._pipeline.execute()
        self._events = 0


class _Entity:
    """Windows of each key, and the keys that were touched since the last rows."""

    def __init__(self, name: str, view: str) -> None:
        self.name = name
        self._keys: dict[int, list[_Window]] = {}
        self._touched: dict[int, int] = {}
        self._time, self._fields = timestamp_field(view), _fields(view)

    def add(self, key: int, at_us: int, amount: float) -> None:
        windows = self._keys.get(key)
        if windows is None:
            windows = self._keys[key] = [_Window(length) for length in WINDOWS_US]
        for window in windows:
            window.add(at_us, amount)
            window.drop(at_us)
        self._touched[key] = at_us

    def rows(self) -> Iterator[tuple[int, dict[Any, Any]]]:
        """Fields of the keys that were touched."""
        fields = self._fields
        for key, at_us in self._touched.items():
            row: dict[Any, Any] = {self._time: encode_timestamp(at_us)}
            for place, window in enumerate(self._keys[key]):
                row[fields[place]] = encode_value(window.count, is_int=True)
                row[fields[place + 3]] = encode_value(window.total / window.count, is_int=False)
            yield key, row
        self._touched.clear()


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


def _fields(view: str) -> list[bytes]:
    return [
        feature_field(view, f"{name}_{days}") for name in ("count", "mean_tx_amount") for days in ("1d", "7d", "30d")
    ]
