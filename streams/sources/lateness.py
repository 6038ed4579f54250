"""Which events come too late; pure.

A partition decides by itself, in offset order, so the decision is the same whenever the messages are read again:

    newest    10:00 ──────────── 16:05 ───────────
    event             15:00 ✓              10:04   lateness 6h: 10:05 and later is in time, this one is late
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel

__all__ = ["EVENT", "NOTHING", "TICK", "mark_late"]

NOTHING, EVENT, TICK = 0, 1, 2
"""Kinds of messages. A tick raises the event time of its partition without being an event."""


@kernel
def mark_late(
    kinds: NDArray[np.uint8],
    partitions: NDArray[np.int32],
    times_us: NDArray[np.int64],
    lateness_us: int,
    newest_us: NDArray[np.int64],
    late: NDArray[np.bool_],
) -> None:
    """Decide on a batch in offset order.

    Args:
        kinds: (n,) NOTHING, EVENT or TICK.
        partitions: (n,) source partition of each message.
        times_us: (n,) event times.
        lateness_us: how far behind the partition's newest event one may come.
        newest_us: (P,) newest event time by partition, NO_TIME_US for none; moved on.
        late: (n,) out.
    """
    for row in range(len(kinds)):
        late[row] = False
        if kinds[row] == NOTHING:
            continue
        newest = newest_us[partitions[row]]
        if times_us[row] > newest:
            newest_us[partitions[row]] = times_us[row]
        elif kinds[row] == EVENT:
            late[row] = times_us[row] < newest - lateness_us
