"""What one partition of a view knows of its sources: what was applied, and what time it is; pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from streams.keyed_log import KeyedBatch
from streams.lateness import NO_TIME_US

__all__ = ["SourceMarks"]

_APPLIED, _NEWEST, _IDLE = range(3)
_UNHEARD = -1
_PREFIX = "marks/"

I64 = NDArray[np.int64]


class SourceMarks:
    """Marks of every source partition of a view.

    Args:
        events: topic of the events.
        labels: topic of the labels; None when the view looks at none.
    """

    def __init__(self, events: str, labels: str | None) -> None:
        self._events = events
        self._labels = labels
        self._topics = {events} | ({labels} if labels else set())
        self._marks: dict[str, I64] = {}
        """Topic -> (P, 3): applied offset, newest time, idle (-1: nothing heard yet)."""

    def wants(self, topic: str) -> bool:
        """Whether the view reads this topic."""
        return topic in self._topics

    def fresh(self, batch: KeyedBatch) -> NDArray[np.bool_]:
        """Rows that were not applied before; a message produced twice after a crash gives none."""
        fresh: NDArray[np.bool_] = batch.offsets > self._of(batch)[batch.sources, _APPLIED]
        return fresh

    def update(self, batch: KeyedBatch) -> None:
        """The rows and marks of this message are taken in.

        A source message may hold many events, and a batch too large for one message of the keyed log is cut anywhere:
        more rows of the newest offset may follow. Only a mark closes it. Rows that come again because the worker was
        killed between the two are duplicates by their ids.
        """
        marks = self._of(batch)
        np.maximum.at(marks[:, _APPLIED], batch.sources, batch.offsets - 1)
        for mark in batch.marks:
            row = marks[mark.partition]
            row[_APPLIED] = max(row[_APPLIED], mark.offset)
            row[_NEWEST] = max(row[_NEWEST], mark.newest_us)
            row[_IDLE] = mark.idle

    def watermark_us(self) -> int | None:
        """Event time that every partition has reached; None while one was never heard of.

        Idle partitions hold nobody. Where all are idle, all has been read, and time stands at the newest event.
        """
        if self._topics - self._marks.keys():
            return None
        every = np.concatenate([self._marks[topic] for topic in self._topics])
        if (every[:, _IDLE] == _UNHEARD).any():
            return None
        newest_us = int(self._marks[self._events][:, _NEWEST].max())
        awake = every[every[:, _IDLE] == 0]
        reached_us = min(newest_us, int(awake[:, _NEWEST].min())) if len(awake) else newest_us
        return None if reached_us == NO_TIME_US else reached_us

    def labels_us(self) -> int:
        """Newest arrival among the labels taken in; lateness.NO_TIME_US for none."""
        marks = self._marks.get(self._labels or "")
        return NO_TIME_US if marks is None else int(marks[:, _NEWEST].max())

    def applied(self) -> dict[str, int]:
        """``<topic>:<partition>`` -> newest offset taken in, -1 for none."""
        return {
            f"{topic}:{partition}": int(row[_APPLIED])
            for topic, marks in self._marks.items()
            for partition, row in enumerate(marks)
        }

    def arrays(self) -> dict[str, I64]:
        """For the snapshot."""
        return {f"{_PREFIX}{topic}": marks for topic, marks in self._marks.items()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """From the snapshot."""
        self._marks = {
            name.removeprefix(_PREFIX): array.astype(np.int64)
            for name, array in arrays.items()
            if name.startswith(_PREFIX)
        }

    def _of(self, batch: KeyedBatch) -> I64:
        marks = self._marks.get(batch.topic)
        if marks is None or len(marks) < batch.partitions:
            grown = np.full((batch.partitions, 3), -1, dtype=np.int64)
            grown[:, _NEWEST] = NO_TIME_US
            if marks is not None:
                grown[: len(marks)] = marks
            marks = self._marks[batch.topic] = grown
        return marks
