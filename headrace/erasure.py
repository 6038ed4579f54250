"""Erasing subjects from a home, place by place, so that a run that is killed is simply repeated.

register     first of all: what is read again from Kafka is dropped from now on
Redis        the subject's keys; rows of others are written as if its events had never been
state        the views' snapshots, after the rows they account for
logs         features, labels, and the events last: everything else is found through them
training     data sets lose their rows; the models trained on them are listed
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.ids import event_ids64
from feature_store.offline.event_log import read_events
from feature_store.offline.log_lock import no_backfills, upkeep_lock
from feature_store.offline.offline_log import log_folder
from feature_store.plan import compile_view
from feature_store.upkeep.erase_datasets import erase_datasets, erased_datasets
from feature_store.upkeep.erase_influence import Influence
from feature_store.upkeep.erase_logs import (
    column_values,
    erase_events,
    erase_features,
    erase_labels,
    find_events,
    rewrite,
)
from feature_store.upkeep.erase_online import OnlineEraser
from feature_store.upkeep.erased import ErasedSubjects, register_path
from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.topics import PREDICTIONS, dead_letters, keyed_topic
from headrace.errors import UnavailableError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import EventStream
from headrace.topic_retention import topic_retention
from streams.erase_state import ErasedState, erase_former_definitions, erase_state
from streams.worker_lock import running_workers, stopped_worker

__all__ = ["erase"]

Tell = Callable[[str, str], None]
"""Receives a place and a sentence about it."""
_TRIES = 5
"""A swap of files takes milliseconds, and they come minutes apart."""


def erase(
    settings: Settings,
    project: Project,
    entity: str,
    keys: Sequence[int | str],
    *,
    dry_run: bool,
    tell: Tell,
) -> dict[str, Any]:
    """Remove subjects from everything a home keeps of a project.

    Args:
        settings: where everything is.
        project: whose data.
        entity: field whose value names a subject.
        keys: the subjects, in the entity's type.
        dry_run: only count.
        tell: told what is done.

    Returns:
        ``removed``: place -> number; ``datasets``: whose rows went; ``models``: versions trained on such, those of
        earlier runs included, for as long as they are registered; ``kafka``: topic -> how long it keeps messages;
        ``notes``: sentences.

    Raises:
        RejectedError: a stream worker runs or was killed, a backfill runs, or the logs are being compacted; a dry run
            minds none of them.
        UnavailableError: Redis does not answer, or files went away each time they were counted.
    """

    def begin() -> _Erasure:
        return _Erasure(settings, project, entity, keys, dry_run, tell)

    offline, name = settings.offline_dir, project.name
    if dry_run:
        work, removed = _counted(begin)
        work.notes += _about_workers(settings, name)
    else:
        with stopped_worker(settings, name), upkeep_lock(offline, name), no_backfills(offline, name):
            work = begin()
            removed = dict(work.run())
    report: dict[str, Any] = {
        "project": project.name,
        "entity": entity,
        "subjects": len(keys),
        "dry_run": dry_run,
        "removed": removed,
        "datasets": work.datasets,
        "models": _models_trained_on(
            settings, {*work.datasets, *erased_datasets(settings.datasets_dir, project)}, work.notes
        ),
        "kafka": _kafka(settings, project, work.notes),
        "notes": work.notes,
    }
    return report


class _Counting(Protocol):
    """A run that only counts."""

    def run(self) -> Iterator[tuple[str, int]]: ...


_Work = TypeVar("_Work", bound=_Counting)


def _counted(begin: Callable[[], _Work]) -> tuple[_Work, dict[str, int]]:
    """A dry run holds nobody up: when files are merged while it reads, it begins again."""
    for _ in range(_TRIES):
        work = begin()
        with contextlib.suppress(FileNotFoundError):
            return work, dict(work.run())
    raise UnavailableError(
        f"files went away {_TRIES} times while they were counted", hint="run it again when nobody is at work on them"
    )


def _about_workers(settings: Settings, project: str) -> list[str]:
    pids = [str(worker.pid) for worker in running_workers(settings) if worker.project == project]
    if not pids:
        return []
    return [
        f"counted beside the stream (pid {', '.join(pids)}), as far as its files are written; to erase, stop it first"
    ]


class _Erasure:
    """One run."""

    def __init__(
        self, settings: Settings, project: Project, entity: str, keys: Sequence[int | str], dry_run: bool, tell: Tell
    ) -> None:
        self._settings, self._project = settings, project
        self._entity, self._keys = entity, keys
        self._dry_run, self._tell = dry_run, tell
        self._erased = ErasedSubjects(register_path(settings, project.name))
        self._read: dict[str, pa.Table] = {}
        self.datasets: list[str] = []
        self.notes: list[str] = []

    def run(self) -> Iterator[tuple[str, int]]:
        """Places in their order, with what was removed there."""
        offline, project, dry_run = self._settings.offline_dir, self._project, self._dry_run
        online = OnlineEraser(self._settings.redis.url, project.name)
        online.check()
        news = self._erased.add_keys(self._entity, self._keys)
        events = {stream.name: find_events(offline, project, stream, self._erased) for stream in project.streams}
        for stream in project.streams:
            self._erased.add_events(stream.name, event_ids64(column_values(events[stream.name], stream.id)))
        found_events = sum(table.num_rows for table in events.values())
        self._tell("events", f"{found_events:,} found in the event log")
        if not dry_run:
            self._erased.save()
        touched = online.erase_keys(self._entity, self._keys, dry_run=dry_run)
        self._tell("redis", f"{touched:,} keys of the subjects")
        yield "keys online", touched
        influences = {view.name: self._influence(view, events[view.events.name]) for view in project.views}
        total = ErasedState()
        for view in project.views:
            part = erase_state(self._settings, project, view, self._erased, influences[view.name], dry_run=dry_run)
            self._tell("state", f"{view.name}: {part.keys:,} keys, {part.events:,} events of {part.rows:,} other keys")
            total += part
        yield "keys in the state of views", total.keys
        yield "events in the state of views", total.events
        yield "labels that waited for their event", total.labels
        # Nobody reads them any more, so nobody can edit them; they go with the first sight of a subject.
        former = erase_former_definitions(self._settings, project, dry_run=dry_run) if news or found_events else 0
        yield "state folders of former definitions", former
        features = 0
        for name, found in erase_features(offline, project, self._erased, dry_run=dry_run):
            self._tell("features", f"{name}: {found.rows:,} rows in {found.files:,} files")
            features += found.rows
        yield "rows of the feature log", features
        yield "rows of others in the feature log that only they caused", self._rewrite_others(influences)
        labels = [erase_labels(offline, project, log, self._erased, dry_run=dry_run).rows for log in project.labels]
        yield "rows of the label log", sum(labels)
        rows = 0
        for dataset, count in erase_datasets(
            self._settings.datasets_dir, project, self._erased, now_us=SystemClock().now_us(), dry_run=dry_run
        ):
            self._tell("training", f"{dataset} holds {count:,} rows of the subjects")
            self.datasets.append(dataset)
            rows += count
        yield "rows of training sets", rows
        if not dry_run and (touched or found_events):
            self.notes.append(f"redis: {online.rewrite_disk()}")
        online.close()
        logged = [erase_events(offline, project, stream, self._erased, dry_run=dry_run) for stream in project.streams]
        yield "rows of the event log", sum(found.rows for found in logged)

    def _influence(self, view: FeatureView, erased: pa.Table) -> Influence:
        gone = self._erased.has_keys(view.entity, column_values(erased, view.entity))
        return Influence(compile_view(view), lambda: self._survivors(view.events), erased, gone_keys=gone)

    def _survivors(self, stream: EventStream) -> pa.Table:
        """Events the stream has applied, with their labels, but for those that go."""
        if stream.name not in self._read:
            self._tell("events", f"{stream.name}: the log is read, to compute rows of others again")
            labels = self._project.labels_of(stream)
            table = read_events(self._settings.offline_dir, self._project, stream, labels, with_late=False)
            gone = self._erased.has_events(stream.name, event_ids64(column_values(table, stream.id)))
            self._read[stream.name] = table.filter(pc.invert(pa.array(gone)))
        return self._read[stream.name]

    def _rewrite_others(self, influences: dict[str, Influence]) -> int:
        rows = 0
        for view in self._project.views:
            influence = influences[view.name]
            if len(influence.keys):
                folder = log_folder(self._settings.offline_dir, self._project.name, "features", view.name)
                found = rewrite(folder, influence.rewrite, dry_run=self._dry_run)
                self._tell(
                    "features", f"{view.name}: {found.files:,} files with rows of {len(influence.keys):,} others"
                )
                rows += found.rows
        return rows


def _models_trained_on(settings: Settings, datasets: Collection[str], notes: list[str]) -> list[str]:
    """Registered versions whose training set held an erased subject, now or before, with their aliases."""
    if not datasets:
        return []
    from trainers.registry import ModelRegistry

    try:
        registry = ModelRegistry(settings)
        versions = [version for model in registry.models() for version in registry.versions(model)]
    except UnavailableError as error:
        notes.append(f"models: the registry was not asked: {error.args[0]}")
        return []
    return [
        f"{version.model} {version.version}" + (f" ({', '.join(version.aliases)})" if version.aliases else "")
        for version in versions
        if version.tags.get("dataset_id") in datasets
    ]


def _kafka(settings: Settings, project: Project, notes: list[str]) -> dict[str, str]:
    """Topics that may still hold messages about a subject, and for how long."""
    sources = [*(stream.name for stream in project.streams), *(labels.name for labels in project.labels)]
    keyed = [keyed_topic(project.name, name).name for name in np.unique([view.entity for view in project.views])]
    topics = [*sources, *keyed, *(dead_letters(name).name for name in sources), PREDICTIONS.name]
    try:
        return topic_retention(settings, topics)
    except UnavailableError as error:
        notes.append(f"kafka: the broker was not asked how long it keeps messages: {error.args[0]}")
        return {}
