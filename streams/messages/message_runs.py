"""Messages as they come out of Kafka: in runs, each of one partition."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streams.messages.payloads import Payloads

__all__ = ["NO_KEY", "NO_VALUE", "Headers", "MessageReader", "MessageRun", "Place"]

NO_VALUE, NO_KEY = 1, 2
"""Bits of ``MessageRun.missing``: what Kafka calls null, which is not the same as empty."""

I64 = NDArray[np.int64]
Headers = Mapping[str, bytes]
Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MessageRun:
    """Messages of one partition in offset order."""

    topic: str
    partition: int
    values: Payloads
    keys: Payloads
    missing: NDArray[np.uint8]
    """(n,) NO_VALUE, NO_KEY, both or 0."""
    offsets: I64
    arrivals_us: I64
    """(n,) Kafka's message time; the wall clock for a message without one."""
    headers: Mapping[int, Headers] = field(default_factory=dict)
    """Offset -> headers, of messages with an empty value only."""
    at_end: bool = False
    """Whether the partition ended behind these messages; a run without messages says nothing else."""

    def __len__(self) -> int:
        return len(self.offsets)

    def slice(self, start: int, stop: int) -> "MessageRun":
        """Some of the messages, in the same memory."""
        return MessageRun(
            topic=self.topic,
            partition=self.partition,
            values=self.values.slice(start, stop),
            keys=self.keys.slice(start, stop),
            missing=self.missing[start:stop],
            offsets=self.offsets[start:stop],
            arrivals_us=self.arrivals_us[start:stop],
            headers=self.headers,
            at_end=self.at_end,
        )


class MessageReader(Protocol):
    """Takes messages out of a consumer that was made with ``enable.partition.eof``; there are two."""

    at_once: int
    """Messages of one call that it reads fastest."""

    def add(self, starts: Mapping[Place, int]) -> None:
        """Begin to read these partitions, too: place -> first offset."""

    def remove(self, places: Collection[Place]) -> None:
        """Read these partitions no longer; a few of their messages may still come."""

    def read(self, count: int, wait_s: float) -> Sequence[MessageRun]:
        """What has been fetched; runs of one partition follow each other.

        Args:
            count: most messages, marks of ends included.
            wait_s: longest wait for the first of them.

        Raises:
            UnavailableError: the broker refused; one that is merely away is waited for.
        """

    def close(self) -> None:
        """Let go of the consumer, which may be closed only then."""
