"""How far the stream has applied events: what a scorer waits for before it reads features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from feature_store.online.redis_online import address_of, connect, translate
from feature_store.partitioning import key_partition
from headrace.contracts.codec import decode
from headrace.contracts.redis_keys import progress_key
from headrace.contracts.streams import ViewProgress
from headrace.spec.features import FeatureView

__all__ = ["Coverage", "SourceEvent", "StreamProgress", "coverage"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvent:
    """Where an event stands in its topic, and whose it is."""

    source: str
    """``<topic>:<partition>``."""
    offset: int
    time_us: int
    keys: Mapping[str, int | str]
    """Entity -> key."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the stream has done for some events."""

    applied: bool
    """Every view has applied every one of them."""
    passed: bool
    """And no earlier event of any source is still on its way: watermarks have passed them."""


def coverage(
    events: Sequence[SourceEvent],
    views: Sequence[FeatureView],
    partitions: Mapping[str, int],
    progress: Mapping[tuple[str, int], ViewProgress],
) -> Coverage:
    """Compare events with reports of progress.

    Args:
        events: events of one or more sources.
        views: views whose features are wanted.
        partitions: entity -> partitions of its keyed log.
        progress: (view, partition) -> newest report.
    """
    needed: dict[tuple[str, int, str], tuple[int, int]] = {}
    for event in events:
        for view in views:
            place = (view.name, key_partition(event.keys[view.entity], partitions[view.entity]), event.source)
            offset, time_us = needed.get(place, (-1, 0))
            needed[place] = (max(offset, event.offset), max(time_us, event.time_us))
    applied = passed = True
    for (view_name, partition, source), (offset, time_us) in needed.items():
        report = progress.get((view_name, partition))
        applied = applied and report is not None and report.sources.get(source, -1) >= offset
        passed = passed and report is not None and report.watermark_us >= time_us
    return Coverage(applied, applied and passed)


class StreamProgress:
    """Reads the reports of a project's stream workers."""

    def __init__(self, redis_url: str, project: str) -> None:
        self._redis: Any = connect(redis_url)
        self._address = address_of(redis_url)
        self._key = progress_key(project)

    def read(self) -> dict[tuple[str, int], ViewProgress]:
        """(view, partition of its keyed log) -> newest report.

        Raises:
            UnavailableError: Redis did not answer.
            IntegrityError: a report cannot be read.
        """
        try:
            fields = self._redis.hgetall(self._key)
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        reports = [decode(value, ViewProgress) for value in fields.values()]
        return {(report.view, report.partition): report for report in reports}

    def close(self) -> None:
        self._redis.close()
