"""How far event time has come on the prediction log, so that a window is closed once and with all its rows.

    partition 0   ──●──●────●──│              watermark = smallest of the partitions, each its newest event
    partition 1   ──●───●──────────●─│        minus the bound for disorder
    partition 2   ─────(idle)                 an idle partition does not hold the others back

Ticks of other topics (ticks.py) and the wall clock raise it from outside, through ``reach``.
"""

from collections.abc import Collection, Iterable

__all__ = ["EventTime"]


class EventTime:
    """Watermark of one prediction log.

    Args:
        partitions: its partition numbers.
        disorder_us: how far behind its partition's newest event a record may come and still be in its window.
    """

    def __init__(self, partitions: Iterable[int], *, disorder_us: int) -> None:
        self._disorder_us = disorder_us
        self._marks: dict[int, int | None] = dict.fromkeys(partitions)
        self.watermark_us: int | None = None
        """Nothing older than this is expected any more; None before the first record."""

    def observe(self, partition: int, event_us: int) -> None:
        """A record of a partition."""
        mark_us = event_us - self._disorder_us
        known_us = self._marks.get(partition)
        self._marks[partition] = mark_us if known_us is None else max(known_us, mark_us)

    def advance(self, *, idle: Collection[int]) -> None:
        """Move the watermark to what the log itself shows.

        Args:
            idle: partitions read to their end that brought nothing for a while.
        """
        busy = [mark for partition, mark in self._marks.items() if partition not in idle]
        candidates = [mark for mark in busy if mark is not None]
        if candidates and len(candidates) == len(busy):
            self.reach(min(candidates))

    def reach(self, until_us: int) -> None:
        """Nothing before ``until_us`` is expected any more; never goes back."""
        self.watermark_us = until_us if self.watermark_us is None else max(self.watermark_us, until_us)

    def state(self) -> dict[str, object]:
        """For a snapshot."""
        return {
            "marks": {str(partition): mark for partition, mark in self._marks.items()},
            "watermark_us": self.watermark_us,
        }

    def restore(self, state: dict[str, object]) -> None:
        """Take up where a snapshot was made; partitions added since begin unknown."""
        marks = state["marks"]
        if isinstance(marks, dict):
            self._marks.update({int(partition): mark for partition, mark in marks.items()})
        watermark_us = state["watermark_us"]
        self.watermark_us = watermark_us if isinstance(watermark_us, int) else None
