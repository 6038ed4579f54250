"""One backfill from its beginning, or from where it was stopped, until the worker has the view.

read the offline log to its end ─► find where the keyed logs go on ─► hand over
     ▲                                   │ not yet: the worker has rows that are not durable
     └───────────────────────────────────┘
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from feature_store.definitions.applied_views import AppliedView, read_applied
from feature_store.definitions.backfill_cost import rows_logged
from feature_store.definitions.change_plan import successor
from feature_store.offline.log_lock import backfill_lock, upkeep_lock
from feature_store.online.redis_online import OnlineWriter
from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch
from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.topics import keyed_topic
from headrace.errors import ConfigError, RejectedError
from headrace.kafka_clients import consumer, partition_counts
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import LabelledStream
from streams.backfill.backfill import Backfill
from streams.backfill.backfill_switch import applied_offsets, go_live
from streams.backfill.knowing_workers import knowing_workers
from streams.backfill.switch_point import BehindError, SwitchPoint, find_switch
from streams.logs.keyed_reader import KeyedReader
from streams.messages.message_runs import Place
from streams.sources.source_commit import read_commits

__all__ = ["BackfillOutcome", "BackfillStep", "check_backfill", "run_backfill"]

_SAVES = 3
"""A backfill saves once where the stream saves so many times: what was not saved is computed again, nobody waits."""
_TELL_EVERY_S = 1.0
_AGAIN_S = 0.5
_MOST_FLUSHES = 4
"""The worker makes rows durable once in ``snapshot_every_s``; after so many times without news it is not running."""
_START_WORKER = (
    "start (or restart) `headrace run stream` with this project and run the command again: it goes on from where it is"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillStep:
    """How far a run is, for whoever watches."""

    rows: int
    """Events and labels done, those of earlier runs included."""
    total: int
    rows_per_s: float | None
    """Of the last seconds of this run's work; None while it is too early to tell."""
    left_s: float | None
    waiting: str = ""
    """What is waited for, once the log is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOutcome:
    """What a run did."""

    is_live: bool
    """Whether the worker may have the view; False: stopped, and resumed by the same command."""
    rows: int
    seconds: float
    workers: int = 0
    """Stream workers that run and know the view; when it is live with none, the next one to start opens it."""
    feature_rows: int = 0
    """Rows of its feature log."""
    too_late: int = 0
    offsets: tuple[int, ...] = ()
    """Message of each partition of the keyed log behind which the worker goes on."""


def check_backfill(settings: Settings, project: Project, view: FeatureView, *, replace: bool) -> AppliedView | None:
    """What is known of the view, if it can be computed.

    Raises:
        RejectedError: it is live already, or another definition of its name is, or no worker has ever run, or one that
            runs began without this definition.
    """
    applied = read_applied(settings, project.name)
    if applied is None:
        raise RejectedError(f"no stream worker of project {project.name!r} has run in this home", hint=_START_WORKER)
    version = compile_view(view).version
    known = applied.views.get(view.name)
    is_new = known is None or known.waiting_for == known.definition.version == version
    is_live = not is_new and applied.is_live(view.name, version)
    if not (is_new or is_live or replace):
        free = successor(view.name, {*applied.views, *(other.name for other in project.views)})
        raise RejectedError(
            f"view {view.name!r} has rows of another definition, which readers would lose",
            hint=f"name the new one {free!r} to keep both side by side, or say --replace",
        )
    knowing_workers(settings, project, view.name)
    if is_live:
        raise RejectedError(f"view {view.name!r} is live with this definition", hint="there is nothing to compute")
    if not is_new and known is not None and known.waiting_for != version:
        raise RejectedError(f"a worker may still write the former {view.name!r}", hint=_START_WORKER)
    return known


def run_backfill(
    settings: Settings,
    project: Project,
    view: FeatureView,
    *,
    since_us: int | None = None,
    replace: bool = False,
    stop: threading.Event | None = None,
    tell: Callable[[BackfillStep], None] | None = None,
) -> BackfillOutcome:
    """Compute a view from the offline log and hand it to the worker.

    Args:
        settings: where everything is.
        project: of the view.
        view: which one.
        since_us: first instant for which rows are computed; None: the beginning of the log.
        replace: also when rows of another definition go.
        stop: set to save and leave.
        tell: told about once a second.

    Raises:
        ConfigError: ``since_us`` and a feature over a lifetime.
        RejectedError: see :func:`check_backfill`; another process computes the view; the worker does not run, or one
            has begun meanwhile without the view. What was computed is kept for the next run.
        UnavailableError: Kafka does not answer.
    """
    if since_us is not None and view.has_lifetime:
        raise ConfigError(f"view {view.name!r} counts from the beginning", hint="leave out --since")
    known = check_backfill(settings, project, view, replace=replace)
    with ExitStack() as held:
        held.enter_context(backfill_lock(settings.offline_dir, project.name, view.name))
        topic, sources = keyed_topic(project.name, view.entity).name, _sources(settings, view)
        count = partition_counts(settings, [topic]).get(topic, 0)
        if not count:
            raise RejectedError(f"topic {topic} does not exist", hint=_START_WORKER)
        backfill = Backfill(
            settings, project, view, partitions=count, sources=sources, since_us=since_us, now_us=SystemClock().now_us
        )
        total = rows_logged(settings, project, view)
        left = rows_logged(settings, project, view, backfill.starts)
        watch = _Watch(backfill, total, left, stop or threading.Event(), tell or (lambda _: None))
        switches = _catch_up(settings, project, topic, backfill, watch, sources)
        progress = backfill.progress
        # Only the end changes files that others may be at work on.
        if switches is None or not _wait_for_upkeep(held, settings, project, watch):
            return BackfillOutcome(
                is_live=False, rows=progress.rows, seconds=progress.seconds, too_late=progress.too_late
            )
        # Once more, for those that began meanwhile: whoever does not know the view will never answer for it.
        workers = knowing_workers(settings, project, view.name)
        rows_per_s = backfill.rate.mean_per_s or (0.0 if known is None else known.rows_per_s)
        with _Online(settings, project) as online:
            written = go_live(settings, project, backfill, switches, online, since_us=since_us, rows_per_s=rows_per_s)
    return BackfillOutcome(
        is_live=True,
        rows=progress.rows,
        seconds=progress.seconds,
        workers=len(workers),
        feature_rows=written,
        too_late=progress.too_late,
        offsets=tuple(switch.offset for switch in switches),
    )


def _wait_for_upkeep(held: ExitStack, settings: Settings, project: Project, watch: "_Watch") -> bool:
    """Hold the written files of the log as soon as nobody else does; False when stopped before."""
    while True:
        try:
            held.enter_context(upkeep_lock(settings.offline_dir, project.name))
        except RejectedError as busy:
            if not watch.wait(busy.args[0]):
                return False
        else:
            return True


def _catch_up(
    settings: Settings, project: Project, topic: str, backfill: Backfill, watch: "_Watch", sources: Mapping[str, int]
) -> list[SwitchPoint] | None:
    """Read until every keyed log has a place to go on from; None when stopped."""
    patience_s = max(10.0, _MOST_FLUSHES * settings.stream.snapshot_every_s)
    deadline_s, read = time.monotonic() + patience_s, -1
    with KeyedReader(settings, topic) as reader:
        while backfill.run(save_every_s=_SAVES * settings.stream.snapshot_every_s, look=watch.look):
            try:
                epochs = _owners(settings, project, sources)
                return [
                    _switch_of(reader, topic, backfill, partition, epochs) for partition in range(backfill.partitions)
                ]
            except BehindError as behind:
                if backfill.progress.rows != read:
                    deadline_s, read = time.monotonic() + patience_s, backfill.progress.rows
                if time.monotonic() > deadline_s:
                    raise RejectedError(f"the view cannot go on live yet: {behind}", hint=_START_WORKER) from behind
                if not watch.wait(str(behind)):
                    return None
    return None


def _switch_of(
    reader: KeyedReader, topic: str, backfill: Backfill, partition: int, epochs: Mapping[Place, int]
) -> SwitchPoint:
    snapshot = backfill.snapshot(partition)
    if snapshot is None:
        raise BehindError(f"{topic}:{partition} has no snapshot")
    first, end = reader.bounds(partition)
    columns = [entry.name for entry in backfill.plan.inputs if not entry.is_label]
    return find_switch(
        lambda start, stop: reader.read(partition, start, stop),
        first,
        end,
        applied_offsets(backfill.plan, snapshot),
        columns,
        epochs,
        where=f"{topic}:{partition}",
    )


def _owners(settings: Settings, project: Project, sources: Mapping[str, int]) -> dict[Place, int]:
    """Epoch of the present owner of each source partition."""
    client = consumer(settings, f"headrace.{project.name}.sources")
    try:
        places = [(topic, number) for topic, count in sources.items() for number in range(count)]
        commits = read_commits(client, places, settings.kafka.bootstrap)
        return {place: commit.epoch for place, commit in commits.items()}
    finally:
        client.close()


def _sources(settings: Settings, view: FeatureView) -> Mapping[str, int]:
    topics = [view.events.name, *([view.source.labels.name] if isinstance(view.source, LabelledStream) else [])]
    return partition_counts(settings, topics)


class _Online:
    """Rows of keys without events, written at once."""

    def __init__(self, settings: Settings, project: Project) -> None:
        self._writer = OnlineWriter(settings.redis.url, project.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, plan: ViewPlan, _partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None:
        """Replace rows that are not newer, or of another definition."""
        self._writer.write(plan, rows, version=version, watermark_us=watermark_us)


class _Watch:
    """Tells how far a run is, and passes on that it is to stop."""

    def __init__(
        self, backfill: Backfill, total: int, left: int, stop: threading.Event, tell: Callable[[BackfillStep], None]
    ) -> None:
        self._backfill, self._stop, self._tell = backfill, stop, tell
        self._total, self._before = total, total - left
        self._told_s = time.monotonic()

    def look(self) -> bool:
        """Whether to go on."""
        if time.monotonic() - self._told_s >= _TELL_EVERY_S:
            self._say("")
        return not self._stop.is_set()

    def wait(self, what: str) -> bool:
        """Pause before another look; whether to go on."""
        self._say(what)
        return not self._stop.wait(_AGAIN_S)

    def _say(self, waiting: str) -> None:
        self._told_s = time.monotonic()
        done = self._before + self._backfill.progress.rows
        rate = self._backfill.rate
        self._tell(
            BackfillStep(
                rows=done,
                total=max(self._total, done),
                rows_per_s=rate.late_per_s,
                left_s=rate.left_s(max(self._total - done, 0)),
                waiting=waiting,
            )
        )
