"""Runs of messages, made by hand."""

from collections.abc import Sequence

import numpy as np

from streams.messages.message_runs import NO_KEY, MessageRun
from streams.messages.payloads import Payloads

__all__ = ["message_run"]


def message_run(
    topic: str, partition: int, first_offset: int, arrivals_us: Sequence[int], *, at_end: bool = False
) -> MessageRun:
    """Messages without keys, one for each arrival; the value of each is its offset."""
    offsets = np.arange(first_offset, first_offset + len(arrivals_us), dtype=np.int64)
    return MessageRun(
        topic=topic,
        partition=partition,
        values=Payloads.of([b"%d" % offset for offset in offsets]),
        keys=Payloads.of([b""] * len(offsets)),
        missing=np.full(len(offsets), NO_KEY, dtype=np.uint8),
        offsets=offsets,
        arrivals_us=np.array(arrivals_us, dtype=np.int64),
        at_end=at_end,
    )
