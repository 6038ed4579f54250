"""How far the stream is: reported in Redis, waited for by whoever needs it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import redis

from feature_store.definitions.applied_views import waiting_views
from feature_store.online.redis_online import address_of, connect, translate
from headrace.config import Settings
from headrace.contracts.codec import decode, encode
from headrace.contracts.redis_keys import progress_key, sources_key
from headrace.contracts.streams import SourceProgress, ViewProgress
from headrace.contracts.topics import keyed_topic
from headrace.errors import UnavailableError
from headrace.kafka_clients import partition_counts
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import LabelledStream

__all__ = ["Progress", "wait_applied"]

_LOOK_S = 0.01
_LOOK_AGAIN_S = 0.5
"""How often it is looked which views wait for a backfill."""


class Progress:
    """Reads and writes the progress of a project's stream."""

    def __init__(self, redis_url: str, project: str) -> None:
        self._redis = connect(redis_url)
        self._address = address_of(redis_url)
        self._project = project

    def write(self, views: Iterable[ViewProgress] = (), sources: Iterable[SourceProgress] = ()) -> None:
        """Report; replaces what was said before about the same partitions.

        Raises:
            UnavailableError: Redis does not answer.
        """
        view_rows = {f"{view.view}:{view.partition}": encode(view) for view in views}
        source_rows = {f"{source.topic}:{source.partition}": encode(source) for source in sources}
        if not view_rows and not source_rows:
            return
        pipeline: Any = self._redis.pipeline(transaction=False)
        if view_rows:
            pipeline.hset(progress_key(self._project), mapping=view_rows)
        if source_rows:
            pipeline.hset(sources_key(self._project), mapping=source_rows)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            raise translate(error, self._address) from error

    def views(self) -> list[ViewProgress]:
        """The newest report of each partition of each view."""
        return [decode(row, ViewProgress) for row in self._read(progress_key(self._project))]

    def sources(self) -> list[SourceProgress]:
        """The newest report of each partition of each source topic."""
        return [decode(row, SourceProgress) for row in self._read(sources_key(self._project))]

    def close(self) -> None:
        self._redis.close()

    def _read(self, key: str) -> list[bytes]:
        try:
            rows: Any = self._redis.hgetall(key)
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        return list(rows.values())


def wait_applied(
    settings: Settings,
    project: Project,
    *,
    watermark_us: int | None = None,
    offsets: Mapping[tuple[str, int], int] | None = None,
    durable: bool = False,
    timeout_s: float = 60.0,
    check: Callable[[], None] | None = None,
    track: Callable[[str, int, int], None] | None = None,
) -> tuple[str, ...]:
    """Wait until every partition of every view has applied what is asked for.

    Views that wait for a backfill are left out: the worker does not read them.

    Args:
        settings: where the servers are.
        project: whose views.
        watermark_us: event time they must have reached.
        offsets: (topic, partition) -> offset after the last message they must have applied, as
            :func:`headrace.kafka_clients.end_offsets` gives it; topics a view does not read are passed over.
        durable: also wait until those offsets are in the offline log.
        timeout_s: longest wait.
        check: called while waiting; raises when waiting has become pointless.
        track: told now and then what is missing, how many messages before those offsets have come through, and of
            how many.

    Returns:
        Names of the views that were left out.

    Raises:
        UnavailableError: it took longer; says what is missing.
    """
    wanted = offsets or {}
    waiting: tuple[str, ...] = ()
    looked_s = -_LOOK_AGAIN_S
    topics = [keyed_topic(project.name, view.entity).name for view in project.views]
    progress = Progress(settings.redis.url, project.name)
    deadline = time.monotonic() + timeout_s
    counts: dict[str, int] = {}
    try:
        while True:
            if len(counts) < len(set(topics)):
                counts = partition_counts(settings, topics)
            if (now_s := time.monotonic()) - looked_s >= _LOOK_AGAIN_S:
                waiting, looked_s = waiting_views(settings, project), now_s
            views = [view for view in project.views if view.name not in waiting]
            missing = _missing(project, views, counts, progress, watermark_us, wanted, durable=durable)
            if not missing:
                return waiting
            if track is not None and looked_s == now_s:
                track(missing, _through(views, progress, wanted, durable=durable), sum(wanted.values()))
            if check is not None:
                check()
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the stream did not get that far in {timeout_s:g} s: {missing}",
                    hint="is `headrace run stream` running? its log says what it does",
                )
            time.sleep(_LOOK_S)
    finally:
        progress.close()


def _through(
    views: Sequence[FeatureView], progress: Progress, offsets: Mapping[tuple[str, int], int], *, durable: bool
) -> int:
    """How many messages before those offsets every view that reads them has applied."""
    readers = {view.name: _topics_read(view) for view in views}
    reports = [report for report in progress.views() if report.view in readers]
    stored = {(source.topic, source.partition): source.offset for source in progress.sources()}
    through = 0
    for (topic, number), end in offsets.items():
        reached = [r.sources.get(f"{topic}:{number}", -1) + 1 for r in reports if topic in readers[r.view]]
        reached += [stored.get((topic, number), 0)] if durable else []
        through += min([end, *reached]) if reached else 0
    return through


def _topics_read(view: FeatureView) -> set[str]:
    return {view.events.name} | ({view.source.labels.name} if isinstance(view.source, LabelledStream) else set())


def _missing(
    project: Project,
    views: Sequence[FeatureView],
    counts: Mapping[str, int],
    progress: Progress,
    watermark_us: int | None,
    offsets: Mapping[tuple[str, int], int],
    *,
    durable: bool,
) -> str:
    """What is not there yet, in words; empty when all is."""
    reports = {(report.view, report.partition): report for report in progress.views()}
    for view in views:
        topic = keyed_topic(project.name, view.entity).name
        if topic not in counts:
            return f"topic {topic} does not exist"
        reads = _topics_read(view)
        for partition in range(counts[topic]):
            report = reports.get((view.name, partition))
            if report is None:
                return f"{view.name}:{partition} has not begun"
            if watermark_us is not None and report.watermark_us < watermark_us:
                return f"{view.name}:{partition} is at {report.watermark_us}, not {watermark_us}"
            for (source, number), end in offsets.items():
                if source in reads and report.sources.get(f"{source}:{number}", -1) < end - 1:
                    return f"{view.name}:{partition} has not applied {source}:{number} up to {end}"
    if durable:
        stored = {(source.topic, source.partition): source.offset for source in progress.sources()}
        for place, end in offsets.items():
            if stored.get(place, 0) < end:
                return f"{place[0]}:{place[1]} is durable up to {stored.get(place, 0)}, not {end}"
    return ""
