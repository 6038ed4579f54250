"""Reading several partitions in step with arrival time; no I/O.

Kafka hands over a megabyte of one partition, then one of the next. After a pause labels would run days ahead of their
events, or behind them. So what was fetched waits in lanes until every partition has been fetched about as far:

    lane 0   ■■■■■■■■■■│□□□□
    lane 1   ■■■■■■■│          not at its end: nobody passes its newest message by more than the slack
    lane 2   ■■■■■|            at its end: holds nobody
                       └ limit = newest of lane 1 + slack
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lane", "release_limit_us"]

_BEFORE_ALL_US = -(2**63)


class Lane:
    """Messages of one partition that were fetched and not yet released.

    Args:
        first_offset: where reading starts.
    """

    def __init__(self, first_offset: int = 0) -> None:
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.offsets: list[int] = []
        self.arrivals_us: list[int] = []
        self.newest_us = _BEFORE_ALL_US
        """Newest arrival fetched so far."""
        self.end_offset = first_offset
        """Offset after the newest message fetched."""
        self.at_end = False
        """Whether the newest message of the partition has been fetched."""
        self._highs_us: list[int] = []

    def __len__(self) -> int:
        return len(self.offsets)

    def add(
        self,
        values: Sequence[bytes | None],
        keys: Sequence[bytes | None],
        offsets: Sequence[int],
        arrivals_us: NDArray[np.int64],
    ) -> None:
        """Messages that follow those before."""
        self.at_end = False
        self.values.extend(values)
        self.keys.extend(keys)
        self.offsets.extend(offsets)
        self.arrivals_us.extend(arrivals_us.tolist())
        # Order within a partition is kept even where a producer's clock went back.
        highs = np.maximum.accumulate(np.maximum(arrivals_us, self.newest_us)).tolist()
        self._highs_us.extend(highs)
        self.newest_us = highs[-1]
        self.end_offset = offsets[-1] + 1

    def arrival_of(self, count: int) -> int:
        """Newest arrival among the first ``count`` messages."""
        return self._highs_us[count - 1]

    def release(self, limit_us: int) -> "Lane":
        """Take the messages up to the limit, in order."""
        count = len(self) if self.newest_us <= limit_us else bisect_right(self._highs_us, limit_us)
        taken = Lane()
        for name in ("values", "keys", "offsets", "arrivals_us", "_highs_us"):
            mine = getattr(self, name)
            if count == len(mine):
                setattr(taken, name, mine)
                setattr(self, name, [])
            else:
                setattr(taken, name, mine[:count])
                del mine[:count]
        if count:
            taken.newest_us, taken.end_offset = taken._highs_us[-1], taken.offsets[-1] + 1
        return taken


def release_limit_us(lanes: Iterable[Lane], slack_us: int, max_rows: int) -> int:
    """Arrival up to which messages may pass; every partition not at its end has been fetched that far, less the slack.

    Args:
        lanes: all partitions.
        slack_us: arrival by which one partition may be ahead of another.
        max_rows: about how many messages may pass; more do where many arrived at one instant.

    >>> ahead, behind = Lane(), Lane()
    >>> ahead.add([b"x"], [None], [0], np.array([900])); behind.add([b"y"], [None], [0], np.array([100]))
    >>> release_limit_us([ahead, behind], 50, 10)
    150
    >>> behind.at_end = True
    >>> release_limit_us([ahead, behind], 50, 10)
    950
    """
    lanes = list(lanes)
    held = [lane.newest_us for lane in lanes if not lane.at_end]
    limit_us = min(held, default=2**63 - 1 - slack_us) + slack_us
    share = max(1, max_rows // max(1, sum(1 for lane in lanes if len(lane))))
    return min([limit_us, *(lane.arrival_of(share) for lane in lanes if len(lane) > share)])
