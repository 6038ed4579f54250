"""The stream role: a process that runs its share of source tasks and view tasks in turn until it is told to stop."""

import gc
import signal
import sys
import threading
import time
from contextlib import ExitStack
from types import FrameType
from typing import Any

from feature_store.definitions.registered_views import versions_of
from feature_store.online.redis_online import OnlineWriter
from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.topics import CONTROL_TOPICS, Topic, dead_letters, keyed_topic
from headrace.errors import ConfigError
from headrace.kafka_clients import ensure_topics
from headrace.logging import get_logger
from headrace.spec.project import Project
from streams.metrics_server import MetricsServer
from streams.progress import Progress
from streams.sources.source_group import SourceGroup
from streams.stopped_waiting import StoppedWaitingError
from streams.stream_metrics import StreamMetrics
from streams.views.online_guard import LOOK_EVERY_S, OnlineGuard
from streams.views.online_thread import OnlineThread
from streams.views.view_group import ViewGroup
from streams.worker_lock import take_place
from streams.worker_pool import run_pool

__all__ = ["StreamWorker", "run", "settle_process", "stream_topics"]

_REPORT_EVERY_S = 0.05
"""Progress is written this often while there is more to do, and at once when there is not."""
_REPEAT_EVERY_S = 1.0
"""All progress is written this often: a worker that was fenced may have overwritten it before it knew."""
_ASSIGNED_WITHIN_S = 10.0
"""What the group gives in this time is taken over before the first turn."""
_HANDED_OVER_S = 30.0
_BACKLOG = 10
"""Micro-batches taken in one turn while there is a backlog: a key that changes in each is written online once."""
_TURN_S = 0.008
"""Turns begin at least this far apart when all is read. Each costs the broker, Redis and this process about the same
for one row as for a hundred; with one for every few rows they were busy with nothing else, and rows waited longer."""
_BACK_S = 0.016
"""A turn waits at most so long for what it forwarded to be back from the broker, and applies it, not the next."""
_SWITCH_S = 0.0005
"""A thread that computes lets the others of the process run after this long; by default it is ten times as long, and a
row waits for each of them."""
_LOG = get_logger(__name__)


def run(settings: Settings, project: Project) -> int:
    """Process the project's streams until SIGTERM or SIGINT, then save and leave.

    Raises:
        UnavailableError: the broker does not answer.
        RejectedError: files of this home are being changed.
    """
    if settings.stream.workers < 1:
        raise ConfigError(
            f"stream.workers is {settings.stream.workers}", hint="give a whole number of processes, 1 or more"
        )
    stop = _stop_on_signals()
    if settings.stream.workers == 1:
        return _run_one(settings, project, stop)
    return run_pool(lambda: _run_one(settings, project, _stop_on_signals()), settings.stream.workers, stop)


def _run_one(settings: Settings, project: Project, stop: threading.Event) -> int:
    worker = StreamWorker(settings, project, stop=stop)
    settle_process()
    _LOG.info("stream started", project=project.name, views=len(project.views))
    worker.run()
    _LOG.info("stream stopped")
    return 0


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    return stop


def settle_process() -> None:
    """Keep the interpreter's own work from the rows of a process that is nothing but a worker."""
    # What is there now stays: looking through all modules for garbage again and again takes a tenth of a second each.
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(_SWITCH_S)


def stream_topics(project: Project) -> list[Topic | str]:
    """Every topic the stream reads or writes, and those of the control plane."""
    sources = [*(stream.name for stream in project.streams), *(labels.name for labels in project.labels)]
    entities = dict.fromkeys(view.entity for view in project.views)
    keyed = [keyed_topic(project.name, entity) for entity in entities]
    return [*sources, *keyed, *map(dead_letters, sources), *CONTROL_TOPICS]


class StreamWorker:
    """One project's share of one process, in one thread; with one worker that is everything.

    Args:
        settings: where everything is.
        project: what to process.
        stop: set to leave.
        log: whether to keep the offline feature log.
    """

    def __init__(
        self, settings: Settings, project: Project, *, stop: threading.Event | None = None, log: bool = True
    ) -> None:
        if not project.streams:
            raise ConfigError(f"project {project.name!r} declares no event stream", hint="declare an EventStream")
        self._wait_s = settings.stream.batch_wait_ms / 2000
        self._stop = stop or threading.Event()
        ensure_topics(settings, stream_topics(project))
        self._closing = ExitStack()
        with self._closing as closing:
            self._place = take_place(settings, project.name)
            closing.callback(self._place.give_up)
            clock, name = SystemClock(), self._place.name
            self._metrics = StreamMetrics()
            served = MetricsServer(settings.stream, self._place.number, self._metrics.registry)
            closing.callback(served.close)
            self._place.say(metrics=served.address, views=versions_of(project))
            self._progress = Progress(settings.redis.url, project.name)
            closing.callback(self._progress.close)
            self._online = OnlineWriter(settings.redis.url, project.name)
            closing.callback(self._online.close)
            self._guard = OnlineGuard(settings.redis.url, project.name)
            closing.callback(self._guard.close)
            self._writing = OnlineThread(self._online, self._stop, self._metrics.rows)
            closing.callback(self._writing.close)
            given: Any = {"name": name, "now_us": clock.now_us, "metrics": self._metrics}
            self._views = ViewGroup(settings, project, online=self._writing, log=log, **given)
            closing.callback(self._views.close)
            self._sources = SourceGroup(settings, project, stop=self._stop, **given)
            closing.callback(self._sources.close)
            # Once more: what waits to be written asks the group whether it may be, and comes before that is left.
            closing.callback(self._writing.close)
            self._reported_s = self._repeated_s = self._looked_s = 0.0
            deadline_s = time.monotonic() + _ASSIGNED_WITHIN_S
            self._views.wait_assigned(deadline_s)
            self._sources.wait_assigned(deadline_s)
            self._closing = closing.pop_all()

    def stop(self) -> None:
        """Make :meth:`run` save and leave; may be called from anywhere."""
        self._stop.set()

    def run(self) -> None:
        """Work until told to stop, then make everything durable."""
        try:
            busy = False
            while not self._stop.is_set():
                began_s = time.monotonic()
                busy = self.step(wait=not busy)
                if self._sources.is_live:
                    time.sleep(max(0.0, _TURN_S - (time.monotonic() - began_s)))
            self._sources.flush()
            self._report(force=True)
            done = self._views.hand_over()
            self._writing.wait()
            self._sources.hand_over()
            done.wait(_HANDED_OVER_S)
            self._views.check_saved()
            self._place.mark_saved()
        except StoppedWaitingError:
            _LOG.warning("stopped while a server was away; what is not saved is read again")
        finally:
            self.close()

    def step(self, *, wait: bool = True) -> bool:
        """One turn; whether there may be more to do at once."""
        taken = self._sources.step(self._wait_s if wait else 0.0)
        for _ in range(_BACKLOG):
            if not self._sources.has_backlog:
                break
            taken += self._sources.step(0.0)
        wait_s = _BACK_S if taken and self._sources.is_live else self._wait_s if wait or not taken else 0.0
        applied = self._views.step(wait_s, self._sources.take_forwarded())
        busy = bool(taken or applied or self._sources.has_backlog)
        self._keep_online()
        self._report(force=not busy)
        return busy

    def close(self) -> None:
        """Give everything back."""
        self._closing.close()

    def _keep_online(self) -> None:
        """Look now and then whether the store still has its rows, and give them again if not."""
        if new := self._views.take_new():
            self._writing.do(lambda: self._guard.mark(new))
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            places = self._views.places
            self._writing.do(lambda: self._guard.look(places))
        if lost := self._guard.heal(self._views.places):
            self._views.write_again(lost)
            self._writing.do(lambda: self._guard.mark(lost))

    def _report(self, *, force: bool) -> None:
        now_s = time.monotonic()
        if not force and now_s - self._reported_s < _REPORT_EVERY_S:
            return
        self._reported_s = now_s
        everything = now_s - self._repeated_s >= _REPEAT_EVERY_S
        if everything:
            self._repeated_s = now_s
        views, sources = self._views.progress(everything=everything), self._sources.progress(everything=everything)
        if everything:
            self._metrics.tell(sources, views, self._sources.lags())
        if views or sources:
            self._writing.do(lambda: self._progress.write(views, sources))
