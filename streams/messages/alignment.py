"""Reading several partitions in step with arrival time; no I/O.

Kafka hands over a megabyte of one partition, then one of the next. After a pause labels would run days ahead of their
events, or behind them. So what was fetched waits in lanes until every partition has been fetched about as far:

    lane 0   ■■■■■■■■■■│□□□□
    lane 1   ■■■■■■■│          not at its end: nobody passes its newest message by more than the slack
    lane 2   ■■■■■|            at its end: holds nobody
                       └ limit = newest of lane 1 + slack
"""

from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from streams.messages.message_runs import MessageRun

__all__ = ["Lane", "release_limit_us"]

_BEFORE_ALL_US = -(2**63)


class Lane:
    """Messages of one partition that were fetched and not yet released.

    Args:
        first_offset: where reading starts.
    """

    def __init__(self, first_offset: int = 0) -> None:
        self.newest_us = _BEFORE_ALL_US
        """Newest arrival fetched so far."""
        self.released_us = _BEFORE_ALL_US
        """Newest arrival released so far."""
        self.end_offset = first_offset
        """Offset after the newest message fetched."""
        self.at_end = False
        """Whether the newest message of the partition has been fetched."""
        self.bytes = 0
        """Of the values that wait."""
        self._rows = 0
        self._runs: deque[tuple[MessageRun, NDArray[np.int64]]] = deque()
        """What waits, with the newest arrival up to each message."""

    def __len__(self) -> int:
        return self._rows

    def add(self, run: MessageRun) -> None:
        """Messages that follow those before, or the end of the partition."""
        self.at_end = run.at_end
        if not len(run):
            return
        # Order within a partition is kept even where a producer's clock went back.
        highs_us = np.maximum.accumulate(np.maximum(run.arrivals_us, self.newest_us))
        self._runs.append((run, highs_us))
        self._rows += len(run)
        self.bytes += run.values.size
        self.newest_us = int(highs_us[-1])
        self.end_offset = int(run.offsets[-1]) + 1

    @property
    def floor_us(self) -> int:
        """Arrival before which every message has been released."""
        return int(self._runs[0][1][0]) if self._runs else self.newest_us

    def arrival_of(self, count: int) -> int:
        """Newest arrival among the first ``count`` messages."""
        for run, highs_us in self._runs:
            if count <= len(run):
                return int(highs_us[count - 1])
            count -= len(run)
        raise IndexError(f"the lane holds {self._rows} messages; asked for {count} beyond them")

    def messages_within(self, size: int) -> int:
        """How many of the messages that wait make about so many bytes; one at least."""
        return self._rows if self.bytes <= size else max(1, self._rows * size // self.bytes)

    def release(self, limit_us: int) -> list[MessageRun]:
        """Take the messages up to the limit, in order."""
        taken = []
        while self._runs:
            run, highs_us = self._runs[0]
            count = int(np.searchsorted(highs_us, limit_us, side="right"))
            if not count:
                break
            self._runs.popleft()
            if count < len(run):
                self._runs.appendleft((run.slice(count, len(run)), highs_us[count:]))
                run = run.slice(0, count)
            taken.append(run)
            self._rows -= count
            self.bytes -= run.values.size
            self.released_us = int(highs_us[count - 1])
        return taken


def release_limit_us(
    lanes: Iterable[Lane],
    slack_us: int,
    max_rows: int,
    *,
    max_bytes: int = 2**63 - 1,
    at_most_us: int = 2**63 - 1,
) -> int:
    """Arrival up to which messages may pass; every partition not at its end has been fetched that far, less the slack.

    Args:
        lanes: all partitions.
        slack_us: arrival by which one partition may be ahead of another.
        max_rows: about how many messages may pass; more do where many arrived at one instant.
        max_bytes: about how many bytes of values may pass, by the mean size of those that wait.
        at_most_us: what the partitions of others allow.

    >>> ahead, behind = Lane(), Lane()
    >>> ahead.newest_us, behind.newest_us = 900, 100
    >>> release_limit_us([ahead, behind], 50, 10)
    150
    >>> behind.at_end = True
    >>> release_limit_us([ahead, behind], 50, 10)
    950
    """
    lanes = list(lanes)
    held = [lane.newest_us for lane in lanes if not lane.at_end]
    limit_us = min(held, default=2**63 - 1 - slack_us) + slack_us
    waiting = [lane for lane in lanes if len(lane)]
    share, size = max(1, max_rows // max(1, len(waiting))), max_bytes // max(1, len(waiting))
    shares = [(lane, min(share, lane.messages_within(size))) for lane in waiting]
    return min([limit_us, at_most_us, *(lane.arrival_of(count) for lane, count in shares if len(lane) > count)])
