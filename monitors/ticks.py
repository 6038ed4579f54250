"""Ticks seen on the topics around the prediction log: event time that moves although nobody predicts.

event partition 0  ●●●●●● tick T@41        every partition has reached T, and the scorer has committed
event partition 1  ●●●● tick T@17          offsets 42 and 18: predictions for events before T are in the log
label partition 0  ○○ tick T               labels known by T are published
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Front", "TickBoard"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What a topic as a whole has reached."""

    until_us: int
    """Smallest of its partitions' newest ticks."""
    offsets: Mapping[int, int]
    """Partition -> offset after its newest tick."""


class TickBoard:
    """Newest tick of each partition."""

    def __init__(self) -> None:
        self._ticks: dict[str, dict[int, tuple[int, int]]] = {}

    def note(self, topic: str, partition: int, until_us: int, offset: int) -> None:
        """A tick was read at ``offset``."""
        known_us, _ = self._ticks.setdefault(topic, {}).get(partition, (until_us, 0))
        self._ticks[topic][partition] = (max(known_us, until_us), offset + 1)

    def front(self, topic: str, partitions: int) -> Front | None:
        """What all partitions of a topic have reached; None while one of them has brought no tick."""
        ticks = self._ticks.get(topic, {})
        if len(ticks) < partitions or not partitions:
            return None
        return Front(
            until_us=min(until_us for until_us, _ in ticks.values()),
            offsets={partition: offset for partition, (_, offset) in ticks.items()},
        )

    def has_any(self, topic: str) -> bool:
        """Whether a topic ever carried a tick."""
        return topic in self._ticks

    def state(self) -> dict[str, dict[str, list[int]]]:
        """For a snapshot."""
        return {
            topic: {str(partition): list(tick) for partition, tick in ticks.items()}
            for topic, ticks in self._ticks.items()
        }

    def restore(self, state: Mapping[str, Mapping[str, list[int]]]) -> None:
        """Take up where a snapshot was made."""
        self._ticks = {
            topic: {int(partition): (until_us, offset) for partition, (until_us, offset) in ticks.items()}
            for topic, ticks in state.items()
        }
