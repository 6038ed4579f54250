"""What a stream worker counts and how far it is, in Prometheus' terms.

What partitions know of themselves is told once a second, and is counted since the beginning of the stream whoever owned
them: a partition that moves goes on counting at its next owner. What the worker does is counted since it began.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace.contracts.streams import SourceProgress, ViewProgress
from streams.messages.message_runs import Place
from streams.snapshots.owner_record import is_record
from streams.snapshots.snapshot_store import SnapshotStore

__all__ = ["GROUPS", "CountedStore", "StreamMetrics"]

GROUPS = ("sources", "views")
_SAVE_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PAUSE_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_NEVER_US = 0
"""Event times from here on are of events; before it, of partitions without any."""

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class _Told:
    """How far the partitions of this worker are."""

    sources: Sequence[SourceProgress] = ()
    views: Sequence[ViewProgress] = ()
    lags: Mapping[Place, int] | None = None


class StreamMetrics:
    """Counters of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._partitions = _Partitions()
        self.registry.register(self._partitions)
        given: Any = {"labelnames": ("group",), "registry": self.registry}
        self._owned = Gauge("headrace_stream_partitions", "Partitions this worker owns", **given)
        self._taken = Counter("headrace_stream_partitions_taken", "Partitions taken over", **given)
        self._released = Counter("headrace_stream_partitions_released", "Partitions given to others in order", **given)
        self._lost = Counter("headrace_stream_partitions_lost", "Partitions others took from this worker", **given)
        self._pauses = Histogram(
            "headrace_stream_handover_pause_seconds",
            "Time in which nobody worked on a partition that was handed over",
            buckets=_PAUSE_BUCKETS_S,
            **given,
        )
        by_view: Any = {"labelnames": ("view",), "registry": self.registry}
        self._written = Counter("headrace_view_rows_written", "Rows written online", **by_view)
        self._refused = Counter("headrace_view_rows_refused", "Rows the store had newer ones of", **by_view)
        self._saves = Histogram(
            "headrace_view_snapshot_seconds", "Time to write a snapshot", buckets=_SAVE_BUCKETS_S, **by_view
        )
        self._saved = Counter("headrace_view_snapshot_bytes", "Bytes of snapshots written", **by_view)
        for group in GROUPS:
            for metric in (self._owned, self._taken, self._released, self._lost, self._pauses):
                metric.labels(group)  # 0 from the first look on, so that rates see the first of each

    def owns(self, group: str, partitions: int) -> None:
        """So many partitions are worked on here."""
        self._owned.labels(group).set(partitions)

    def taken(self, group: str, paused_s: float | None) -> None:
        """A partition was taken over; its former owner gave it up so long before, or never said so."""
        self._taken.labels(group).inc()
        if paused_s is not None:
            self._pauses.labels(group).observe(max(paused_s, 0.0))

    def released(self, group: str, partitions: int) -> None:
        """Partitions move to others."""
        self._released.labels(group).inc(partitions)

    def lost(self, group: str, partitions: int) -> None:
        """Others have partitions that were this worker's."""
        self._lost.labels(group).inc(partitions)

    def rows(self, view: str, given: int, written: int) -> None:
        """Rows of a view were given to the online store, which took some."""
        self._written.labels(view).inc(written)
        self._refused.labels(view).inc(given - written)

    def saved(self, view: str, seconds: float, size: int) -> None:
        """A snapshot was written."""
        self._saves.labels(view).observe(seconds)
        self._saved.labels(view).inc(size)

    def tell(self, sources: Sequence[SourceProgress], views: Sequence[ViewProgress], lags: Mapping[Place, int]) -> None:
        """How far all partitions of this worker are, and how much lies before them at the broker."""
        self._partitions.told = _Told(sources, views, lags)


class CountedStore:
    """A snapshot store whose writes are counted.

    Args:
        store: where snapshots lie.
        saved: told of seconds and bytes of each.
    """

    def __init__(self, store: SnapshotStore, saved: Callable[[float, int], None]) -> None:
        self._store, self._saved = store, saved
        self.names, self.read, self.remove = store.names, store.read, store.remove
        self.tidy, self.place = store.tidy, store.place

    def write(self, name: str, parts: Sequence[memoryview]) -> None:
        """Write, or replace."""
        began_s = time.perf_counter()
        self._store.write(name, parts)
        if not is_record(name):
            self._saved(time.perf_counter() - began_s, sum(part.nbytes for part in parts))


class _Partitions(Collector):
    """What was told last, put into Prometheus' form when somebody asks."""

    def __init__(self) -> None:
        self.told = _Told()

    def collect(self) -> Iterator[Family]:
        """As a registry asks."""
        told = self.told
        yield from _of_sources(told.sources, told.lags or {})
        yield from _of_views(told.views)


def _of_sources(sources: Iterable[SourceProgress], lags: Mapping[Place, int]) -> Iterator[Family]:
    labels = ("topic", "partition")
    events = CounterMetricFamily("headrace_stream_events", "Events accepted", labels=labels)
    dead = CounterMetricFamily("headrace_stream_dead_letters", "Events refused", labels=(*labels, "reason"))
    behind = GaugeMetricFamily("headrace_stream_lag_messages", "Messages not yet durable here", labels=labels)
    for source in sources:
        place = (source.topic, str(source.partition))
        events.add_metric(place, source.rows)
        for reason, count in source.dead_letters.items():
            dead.add_metric((*place, reason), count)
        if (lag := lags.get((source.topic, source.partition))) is not None:
            behind.add_metric(place, lag)
    yield from (events, dead, behind)


def _of_views(views: Iterable[ViewProgress]) -> Iterator[Family]:
    labels, now_s = ("view", "partition"), time.time()
    events = CounterMetricFamily("headrace_view_events", "Events applied", labels=labels)
    twice = CounterMetricFamily("headrace_view_duplicates", "Events that had been applied before", labels=labels)
    late = CounterMetricFamily("headrace_view_late", "Events older than the view remembers", labels=labels)
    at = GaugeMetricFamily("headrace_view_watermark_timestamp_seconds", "Event time reached", labels=labels)
    age = GaugeMetricFamily("headrace_view_freshness_seconds", "Wall clock less event time reached", labels=labels)
    for view in views:
        place = (view.view, str(view.partition))
        events.add_metric(place, view.rows)
        twice.add_metric(place, view.duplicates)
        late.add_metric(place, view.too_late)
        if view.watermark_us > _NEVER_US:
            at.add_metric(place, view.watermark_us / 1e6)
            age.add_metric(place, now_s - view.watermark_us / 1e6)
    yield from (events, twice, late, at, age)
