"""The monitor process: predictions, labels and deployments from Kafka; one WindowReport per model and window back.

    read ──► ModelWatch ──► event time passed the window's end?
                             ──► labels and deployments read to their present end ──► close ──► DRIFT topic ──► snapshot

A report is published before the snapshot that knows of it. After a kill the window is closed again from the older
snapshot, gives the same report, and is not published twice because the topic's newest one is known.
"""

import signal
import threading
import time
from collections import Counter
from typing import Any

from numpy.typing import NDArray

from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.messages import OpenReader
from headrace.contracts.topics import DEPLOYMENTS, DRIFT, PREDICTIONS
from headrace.errors import ConfigError, IntegrityError
from headrace.kafka_clients import ensure_topics
from headrace.logging import get_logger
from headrace.rollout_store import RolloutStore
from headrace.spec.project import Project
from monitors.label_reader import LabelReader
from monitors.library import ModelLibrary
from monitors.log_reader import LogReader, Place
from monitors.messages import read_deployment, read_prediction, tick_of
from monitors.model_watch import ModelWatch, Surroundings
from monitors.progress import MonitorProgress
from monitors.report_writer import ReportWriter
from monitors.scorer_progress import ScorerProgress
from monitors.snapshot import Snapshot, read_snapshot, write_snapshot
from monitors.ticks import TickBoard

__all__ = ["MonitorProcess", "run"]

_READ_S = 0.1
_TELL_S = 0.5
_log = get_logger(__name__)


def run(settings: Settings, project: Project, open_reader: OpenReader) -> int:
    """Watch every model of a project until SIGTERM or Ctrl-C.

    Args:
        settings: where things are.
        project: whose models are watched.
        open_reader: makes what reads a topic.

    Raises:
        ConfigError: the project has no model.
    """
    if not project.models:
        raise ConfigError(f"project {project.name!r} declares no model", hint="add a Model to watch it")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    MonitorProcess(settings, project, stop, open_reader).run()
    return 0


class MonitorProcess:
    """All models of one project; one process reads all partitions.

    Args:
        settings: where things are.
        project: whose models are watched.
        stop: set from outside to end; state is saved first.
        open_reader: makes what reads a topic.
    """

    def __init__(self, settings: Settings, project: Project, stop: threading.Event, open_reader: OpenReader) -> None:
        self._settings, self._project, self._stop = settings, project, stop
        self._path = settings.state_dir / "monitors" / f"{project.name}.npz"
        labels = {model.label.name: model.label for model in project.models}
        self._labels = {name: LabelReader(topic, open_reader, stop) for name, topic in labels.items()}
        self._clock = SystemClock()
        self._refused = 0
        self._libraries: dict[str, ModelLibrary] = {}
        self._watches: dict[str, ModelWatch] = {}
        self._ticks = TickBoard()
        self._barriers: dict[str, tuple[int, dict[Place, int]]] = {}
        """Model -> event time reached, and what must be read before windows up to it are closed."""

    def run(self) -> None:
        """Read and report until ``stop``."""
        settings = self._settings
        streams = {model.events.name for model in self._project.models} | set(self._labels)
        topics = [PREDICTIONS.name, DEPLOYMENTS.name, *sorted(streams)]
        ensure_topics(settings, [PREDICTIONS, DRIFT, DEPLOYMENTS, *sorted(streams)])
        snapshot = read_snapshot(self._path)
        reader = LogReader(settings, topics, _offsets(snapshot), group=f"headrace.monitor.{self._project.name}")
        store = RolloutStore(settings.redis.url)
        progress = MonitorProgress(settings.redis.url, self._clock)
        scorer = ScorerProgress(settings, self._project.name)
        try:
            self._build(reader, store, scorer, snapshot)
            writer = ReportWriter(settings)
            _log.info("watching", models=",".join(self._watches), restored=snapshot is not None)
            self._loop(reader, writer, progress)
            self._save(reader)
        finally:
            scorer.close()
            progress.close()
            store.close()
            reader.close()

    def _loop(self, reader: LogReader, writer: ReportWriter, progress: MonitorProgress) -> None:
        told = saved = time.monotonic()
        unsaved = False
        while not self._stop.is_set():
            messages = reader.read(_READ_S)
            for message in messages:
                self._take(message)
            unsaved = unsaved or bool(messages)
            closed = [self._close_due(name, reader, writer, progress) for name in self._watches]
            now = time.monotonic()
            if any(closed) or (unsaved and now - saved > self._settings.stream.snapshot_every_s):
                self._save(reader)
                saved, unsaved = now, False
            if any(closed) or now - told > _TELL_S:
                self._tell(reader, progress)
                told = now

    def _build(self, reader: LogReader, store: RolloutStore, scorer: ScorerProgress, snapshot: Snapshot | None) -> None:
        around = Surroundings(
            partitions=Counter(topic for topic, _ in reader.places),
            is_at_end=lambda number: reader.is_at_end((PREDICTIONS.name, number)),
            is_scored=scorer.has_passed,
            now_us=self._clock.now_us,
        )
        if snapshot is not None:
            self._ticks.restore(snapshot.plain["ticks"])
        for model in self._project.models:
            library = ModelLibrary(self._settings, model.name, store)
            watch = ModelWatch(model, library.outlook, around, self._ticks)
            kept = snapshot.plain["models"].get(model.name) if snapshot is not None else None
            if snapshot is not None and kept is not None:
                if not watch.monitor.fits(kept):
                    raise IntegrityError(
                        f"{self._path} was written for other inputs of model {model.name!r}",
                        hint=f"remove {self._path}; the monitor then starts from the beginning of the prediction log",
                    )
                prefix = f"{model.name}/"
                watch.restore(
                    kept,
                    {name.removeprefix(prefix): a for name, a in snapshot.arrays.items() if name.startswith(prefix)},
                )
            self._libraries[model.name], self._watches[model.name] = library, watch

    def _take(self, message: Any) -> None:
        topic, partition = message.topic(), message.partition()
        try:
            tick_us = tick_of(message)
            if tick_us is not None:
                self._ticks.note(topic, partition, tick_us, message.offset())
            elif topic == PREDICTIONS.name:
                record = read_prediction(message.value() or b"")
                if record.model in self._watches:
                    self._watches[record.model].add_prediction(record, partition)
            elif topic == DEPLOYMENTS.name:
                change = read_deployment(message.value() or b"")
                if change.record.model in self._libraries:
                    self._libraries[change.record.model].learn(change)
            elif topic in self._labels:  # of events only the ticks matter here
                labels = self._labels[topic].read(message)
                for watch in self._watches.values():
                    if watch.model.label.name == topic:
                        for label in labels:
                            watch.add_label(label.event_id, label.value)
        except IntegrityError as error:
            self._refused += 1
            _log.debug(
                "message refused", topic=topic, partition=partition, offset=message.offset(), reason=error.args[0]
            )

    def _close_due(self, name: str, reader: LogReader, writer: ReportWriter, progress: MonitorProgress) -> int:
        """Close what is due and return how many windows that were."""
        watch = self._watches[name]
        if name not in self._barriers:
            due = watch.due()
            if due is None:
                return 0
            self._barriers[name] = (due.reached_us, reader.ends(due.read_first))
        reached_us, ends = self._barriers[name]
        if not reader.has_reached(ends):
            return 0
        del self._barriers[name]
        count = 0
        while (outcome := watch.close_next(reached_us)) is not None:
            count += 1
            writer.write(outcome, self._libraries[name].reference(outcome.report.version))
            if outcome.report.evidence is not None:
                progress.publish(outcome.report.evidence)
        writer.flush()
        return count

    def _tell(self, reader: LogReader, progress: MonitorProgress) -> None:
        for name, watch in self._watches.items():
            fields = {
                f"{'predictions' if topic == PREDICTIONS.name else topic}:{number}": offset
                for (topic, number), offset in reader.offsets.items()
                if topic in (PREDICTIONS.name, watch.model.label.name)
            }
            closed_us = watch.monitor.windows.closed_until_us
            fields["window"] = closed_us // watch.model.monitors.window_us
            fields["until_us"] = closed_us
            fields["event_us"] = watch.time.watermark_us or 0
            progress.tell(name, fields)

    def _save(self, reader: LogReader) -> None:
        plain: dict[str, Any] = {}
        arrays: dict[str, NDArray[Any]] = {}
        for name, watch in self._watches.items():
            plain[name], kept = watch.state()
            arrays |= {f"{name}/{part}": array for part, array in kept.items()}
        offsets = {f"{topic}:{number}": offset for (topic, number), offset in reader.offsets.items()}
        write_snapshot(
            self._path,
            Snapshot(plain={"models": plain, "offsets": offsets, "ticks": self._ticks.state()}, arrays=arrays),
        )


def _offsets(snapshot: Snapshot | None) -> dict[Place, int]:
    """Offsets of a snapshot; deployments are few and always read from their beginning."""
    if snapshot is None:
        return {}
    places = {place.rpartition(":"): offset for place, offset in snapshot.plain["offsets"].items()}
    return {(topic, int(number)): offset for (topic, _, number), offset in places.items() if topic != DEPLOYMENTS.name}
