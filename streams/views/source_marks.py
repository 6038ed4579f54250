"""What one partition of a view knows of its sources: what was applied, and what time it is; pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from streams.logs.keyed_log import NO_TIME_US, KeyedBatch

__all__ = ["SourceMarks"]

_APPLIED, _NEWEST, _IDLE, _EPOCH = range(4)
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
        """Topic -> (P, 4): applied offset, newest time, idle (-1: nothing heard yet), newest epoch of its owner."""
        self.fenced = 0
        """Rows dropped because somebody else owned their partition by then; that owner sends them again."""

    def wants(self, topic: str) -> bool:
        """Whether the view reads this topic."""
        return topic in self._topics

    def fresh(self, batch: KeyedBatch) -> NDArray[np.bool_]:
        """Rows to take in: not applied before, and not sent by somebody who no longer owns their partition."""
        marks = self._of(batch)
        fresh: NDArray[np.bool_] = batch.offsets > marks[batch.sources, _APPLIED]
        if outdated := self._outdated(batch, marks):
            foreign = np.isin(batch.sources, list(outdated))
            self.fenced += int(foreign.sum())
            fresh &= ~foreign
        return fresh

    def update(self, batch: KeyedBatch) -> None:
        """The rows and marks of this message are taken in.

        A source message may hold many events, and a batch too large for one message of the keyed log is cut anywhere:
        more rows of the newest offset may follow. Only a mark closes it. Rows that come again because the worker was
        killed between the two are duplicates by their ids.
        """
        marks = self._of(batch)
        outdated = self._outdated(batch, marks)
        for partition, epoch in batch.source_epochs():
            marks[partition, _EPOCH] = max(marks[partition, _EPOCH], epoch)
        sources, offsets = batch.sources, batch.offsets
        if outdated:
            own = ~np.isin(sources, list(outdated))
            sources, offsets = sources[own], offsets[own]
        np.maximum.at(marks[:, _APPLIED], sources, offsets - 1)
        for mark in batch.marks:
            if mark.partition in outdated:
                continue
            row = marks[mark.partition]
            row[_APPLIED] = max(row[_APPLIED], mark.offset)
            row[_NEWEST] = max(row[_NEWEST], mark.newest_us)
            row[_IDLE] = mark.idle

    def _outdated(self, batch: KeyedBatch, marks: I64) -> set[int]:
        """Source partitions whose sender has been followed by another owner."""
        return {partition for partition, epoch in batch.source_epochs() if epoch < marks[partition, _EPOCH]}

    def watermark_us(self) -> int | None:
        """Event time that every partition has reached; None while one was never heard of.

        Idle partitions hold nobody. Where all are idle, all has been read, and time stands at the newest event.
        """
        if self._topics - self._marks.keys():
            return None
        # Asked for with each message, of a few partitions: plain numbers are faster than arrays.
        reached_us = int(self._marks[self._events][:, _NEWEST].max())
        for topic in self._topics:
            for _, newest_us, idle, _ in self._marks[topic].tolist():
                if idle == _UNHEARD:
                    return None
                if not idle and newest_us < reached_us:
                    reached_us = newest_us
        return None if reached_us == NO_TIME_US else reached_us

    def labels_us(self) -> int:
        """Newest arrival among the labels taken in; NO_TIME_US for none."""
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
        for name, array in arrays.items():
            if name.startswith(_PREFIX):
                marks = _unheard(len(array))
                # Snapshots of before there were epochs have a column less.
                marks[:, : array.shape[1]] = array
                self._marks[name.removeprefix(_PREFIX)] = marks

    def _of(self, batch: KeyedBatch) -> I64:
        marks = self._marks.get(batch.topic)
        if marks is None or len(marks) < batch.partitions:
            grown = _unheard(batch.partitions)
            if marks is not None:
                grown[: len(marks)] = marks
            marks = self._marks[batch.topic] = grown
        return marks


def _unheard(partitions: int) -> I64:
    marks = np.full((partitions, 4), _UNHEARD, dtype=np.int64)
    marks[:, _NEWEST], marks[:, _EPOCH] = NO_TIME_US, 0
    return marks
