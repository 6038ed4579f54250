"""Retention: the oldest files of a log go when every row in them is older than what is kept.

    oldest                                                     newest
    [ file ][ file ][ file ][ file ][ file ][ file ][ newest ]      the newest file always stays
    ◄── all older ─►│◄──────────────── kept ─────────────────►      a file with one younger row stays, and all after it
                    newest time in the log − retention

Age is measured on the log's own clock: the newest event time it holds (labels: the newest arrival). In a live stream
that is now; in a replay of old events nothing is too old the moment it is written.
Whole files go, the oldest first, so a crash leaves a log without a hole. What is refused: a retention shorter than a
view or a model's training needs, and removing events from which a training set was built that still stands.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.offline.offline_log import LogKind, Segment, log_folder, read_segment, segments
from feature_store.offline_tables import ARRIVAL, EVENT_TIMESTAMP
from feature_store.training.training_rows import first_needed_us
from headrace.clock import format_us
from headrace.config import OfflineSettings
from headrace.contracts.artifacts import DatasetManifest
from headrace.errors import ConfigError, RejectedError
from headrace.spec.durations import format_duration, parse_duration
from headrace.spec.project import Project
from headrace.spec.streams import LabelledStream

__all__ = ["LogRetention", "Removal", "check_datasets", "due", "remove", "retentions"]


_EVER_US = 1_000 * 365 * 86_400_000_000
"""A thousand years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRetention:
    """How long one log is kept."""

    kind: LogKind
    name: str
    """Stream, label stream or view."""
    time: str
    """Column its age is measured by."""
    keep_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One file that is too old."""

    log: LogRetention
    segment: Segment
    rows: int
    newest_us: int
    """Newest time in it."""


def retentions(settings: OfflineSettings, project: Project) -> list[LogRetention]:
    """What is to be kept of each log of a project; logs that are kept for ever are not among them.

    Raises:
        ConfigError: a retention is no duration, or shorter than what a view or a model needs; says by whom.
    """
    found = []
    for kind, setting in (
        ("events", settings.event_retention),
        ("labels", settings.label_retention),
        ("features", settings.feature_retention),
    ):
        if not setting:
            continue
        where = f"offline.{kind.removesuffix('s')}_retention"
        keep_us = parse_duration(setting, field=where)
        for log in _logs(project, kind, keep_us):
            for needed_us, whose in _needs(project, log):
                if keep_us < needed_us:
                    raise ConfigError(
                        f"{where} is {setting!r}, and {whose} needs {format_duration(needed_us)} of {log.name!r}",
                        hint=f"keep at least {format_duration(needed_us)}, or leave it empty to keep everything",
                    )
            found.append(log)
    return found


def due(offline_dir: Path, project: Project, log: LogRetention) -> list[Removal]:
    """Files of a log that may go, by partition, oldest first."""
    folder = log_folder(offline_dir, project.name, log.kind, log.name)
    partitions = [segments(path) for path in sorted(folder.glob("partition=*"))]
    clock_us = max((_span(found[-1], log.time)[1] for found in partitions if found), default=0)
    return [removal for found in partitions for removal in _old(found[:-1], log, clock_us - log.keep_us)]


def remove(removals: Iterable[Removal]) -> Iterator[Removal]:
    """Remove files; yields each once it is gone."""
    for removal in removals:
        removal.segment.path.unlink(missing_ok=True)
        yield removal


def check_datasets(project: Project, removals: Iterable[Removal], manifests: Iterable[DatasetManifest]) -> None:
    """Refuse to remove what a training set was built from.

    Args:
        project: of the logs.
        removals: what is to go.
        manifests: training sets that stand.

    Raises:
        RejectedError: one could not be built again; names it.
    """
    models = {model.name: model for model in project.models}
    newest_us: dict[str, int] = {}
    for removal in removals:
        if removal.log.kind != "features":
            newest_us[removal.log.name] = max(newest_us.get(removal.log.name, 0), removal.newest_us)
    for manifest in manifests:
        model = models.get(manifest.model)
        if model is None or not manifest.sources:
            continue
        firsts = {stream.name: first_needed_us(model, stream, manifest.start_us) for stream in model.streams}
        firsts[model.label.name] = firsts[model.events.name]
        for name, first_us in firsts.items():
            if newest_us.get(name, first_us - 1) >= first_us:
                raise RejectedError(
                    f"training set {manifest.dataset_id} was built from {name!r} since {format_us(first_us)},"
                    f" and files up to {format_us(newest_us[name])} would go",
                    hint="it could not be built again: remove it first, keep more, or say --give-up-rebuilds",
                )


def _logs(project: Project, kind: str, keep_us: int) -> list[LogRetention]:
    if kind == "events":
        return [LogRetention(kind="events", name=s.name, time=s.time, keep_us=keep_us) for s in project.streams]
    if kind == "labels":
        return [LogRetention(kind="labels", name=s.name, time=ARRIVAL, keep_us=keep_us) for s in project.labels]
    return [LogRetention(kind="features", name=v.name, time=EVENT_TIMESTAMP, keep_us=keep_us) for v in project.views]


def _needs(project: Project, log: LogRetention) -> Iterator[tuple[int, str]]:
    """(duration, by whom) a log must reach back."""
    for view in project.views:
        labels = view.source.labels.name if isinstance(view.source, LabelledStream) else None
        if log.name == {"events": view.events.name, "labels": labels, "features": view.name}[log.kind]:
            yield view.reach_us + view.events.lateness_us, f"view {view.name!r} (its windows and the lateness)"
            if view.has_lifetime and log.kind != "features":
                yield _EVER_US, f"view {view.name!r} (a lifetime counts every event there was)"
    for model in project.models:
        span_us = model.retrain.history_us + model.retrain.test_us + model.label.delay_us
        needed = {stream.name: span_us - first_needed_us(model, stream, 0) for stream in model.streams}
        needed = needed if log.kind == "events" else {model.label.name: span_us} if log.kind == "labels" else {}
        if log.name in needed:
            yield needed[log.name], f"a training set of model {model.name!r} (history, test, label delay and windows)"


def _old(candidates: list[Segment], log: LogRetention, horizon_us: int) -> Iterator[Removal]:
    for segment in candidates:
        rows, newest_us = _span(segment, log.time)
        if newest_us >= horizon_us:
            return
        yield Removal(log=log, segment=segment, rows=rows, newest_us=newest_us)


def _span(segment: Segment, column: str) -> tuple[int, int]:
    """Rows of a file, and the newest time in it."""
    times = read_segment(segment.path, [column])[column].cast(pa.int64())
    return len(times), int(pc.max(times).as_py() or 0)
