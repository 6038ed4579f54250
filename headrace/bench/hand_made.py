"""The two fraud views as a careful user writes them in a per-event framework: deques, running sums, one key at a time.

The peer of ``headrace bench stream``. It forgives itself what the engine does not: late events go to the end of a
deque, duplicates count twice, and nothing survives a crash.
"""

import struct
from collections import deque
from typing import Any

import redis

from feature_store.online_layout import encode_timestamp, entity_key, feature_field, timestamp_field

__all__ = ["HandMade"]

DAY_US = 86_400_000_000
WINDOWS_US = (1 * DAY_US, 7 * DAY_US, 30 * DAY_US)
DELAY_US = 7 * DAY_US
_FLUSH_EVENTS = 1_000


class HandMade:
    """Features of customers and terminals, written to Redis in Feast's layout a thousand events at a time."""

    def __init__(self, redis_url: str, project: str) -> None:
        self._project = project
        self._pipeline = redis.Redis.from_url(redis_url).pipeline(transaction=False)
        self._waiting = 0
        self._customers: dict[int, list[_Window]] = {}
        self._terminals: dict[int, tuple[deque[tuple[int, int]], list[_Window]]] = {}
        self._labels: dict[int, int] = {}
        days = ("1d", "7d", "30d")
        self._customer_fields = _fields("customer_activity", [f"count_{d}" for d in days], "mean_tx_amount", days)
        self._terminal_fields = _fields("terminal_risk", [f"count_{d}" for d in days], "mean_tx_fraud", days)

    def label(self, event_id: int, value: int) -> None:
        """An outcome became known."""
        self._labels[event_id] = value

    def event(self, event_id: int, at_us: int, customer: int, terminal: int, amount: float) -> None:
        """A transaction: six values of its customer, six of its terminal."""
        windows = self._customers.get(customer)
        if windows is None:
            windows = self._customers[customer] = [_Window(length) for length in WINDOWS_US]
        values = []
        for window in windows:
            window.add(at_us, amount)
            window.drop(at_us)
            values.append((window.count, window.total / window.count))
        self._write("customer_id", customer, "customer_activity", self._customer_fields, values, at_us)
        state = self._terminals.get(terminal)
        if state is None:
            state = self._terminals[terminal] = (deque(), [_Window(length) for length in WINDOWS_US])
        coming, windows = state
        coming.append((at_us, event_id))
        seen_us = at_us - DELAY_US
        while coming and coming[0][0] <= seen_us:
            entered_us, entered_id = coming.popleft()
            label = self._labels.pop(entered_id, 0)
            for window in windows:
                window.add(entered_us, label)
        values = []
        for window in windows:
            window.drop(seen_us)
            values.append((window.count, window.total / window.count if window.count else 0.0))
        self._write("terminal_id", terminal, "terminal_risk", self._terminal_fields, values, at_us)
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
            row[fields[place]] = b"\x20" + _varint(count)
            row[fields[place + 3]] = b"\x29" + struct.pack("<d", mean)
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


def _fields(view: str, counts: list[str], mean: str, days: tuple[str, ...]) -> list[bytes]:
    return [feature_field(view, name) for name in (*counts, *(f"{mean}_{day}" for day in days))]


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    parts.append(number)
    return bytes(parts)
