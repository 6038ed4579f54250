"""Training sets: built once, kept for ever, rebuilt to the same rows from their manifest.

offline log, up to now ──► offsets pinned ──► rows (training_rows) ──► <datasets_dir>/<dataset_id>/
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.compute import Mode
from feature_store.offline.event_log import read_events
from feature_store.offline.log_bounds import LogBounds, bounds_now
from feature_store.tracking import Track, untracked
from feature_store.training.bucket_answers import Run, run_here
from feature_store.training.dataset_spill import training_rows_spilled
from feature_store.training.training_rows import arrived_late_share, first_needed_us, training_rows
from headrace.clock import format_us
from headrace.config import Settings
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import content_hash, folder_of, read_dataset, write_dataset
from headrace.errors import ConfigError, IntegrityError, RejectedError
from headrace.spec.model import Model
from headrace.spec.project import Project, definitions_of

__all__ = ["build_dataset", "build_from_events", "knowledge_time", "rebuild_dataset", "verify_dataset"]

Tell = Callable[[str], None]
"""Receives one sentence about progress."""


def build_dataset(
    settings: Settings,
    project: Project,
    model: Model,
    *,
    start_us: int,
    end_us: int,
    as_of_us: int,
    mode: Mode = "as_served",
    memory_bytes: int | None = None,
    run: Run = run_here,
    tell: Tell | None = None,
    track: Track = untracked,
) -> DatasetManifest:
    """Build a training set from the offline log.

    Args:
        settings: where the log is, and where data sets go.
        project: of the model.
        model: whose inputs and label.
        start_us: first event time.
        end_us: event time after the last.
        as_of_us: knowledge time; labels must have matured by then, and in ``as_served`` have arrived.
        mode: ``as_served`` or ``corrected``, see :mod:`feature_store.training.training_rows`.
        memory_bytes: about how much of the log may be held at once, the rest on the disk; None: all of it.
        run: with ``memory_bytes``: where buckets of entities are answered.
        tell: told what is done.
        track: told how far it is.

    Returns:
        The manifest of what was asked; that of the existing data set when the same request gave the same rows before.

    Raises:
        ConfigError: the range is empty.
        RejectedError: no event in the range has a known label.
        HeadraceError: the disk is full or the folder cannot be written.
    """
    sources = bounds_now(settings.offline_dir, project, model.events, model.label)
    for other in model.streams[1:]:
        sources |= bounds_now(settings.offline_dir, project, other, project.labels_of(other))
    if not sources:
        raise RejectedError(
            f"the offline log of {model.events.name!r} under {settings.offline_dir} is empty",
            hint="publish events and run `headrace run stream`, or check HEADRACE_HOME",
        )
    span: dict[str, Any] = {"start_us": start_us, "end_us": end_us, "as_of_us": as_of_us}
    rows: pa.Table | None = None
    others: list[pa.Table] = []
    if memory_bytes is None:
        events, *others = _read(settings, project, model, sources, mode=mode, track=track, **span)
    else:
        bounds = _bounds(sources, as_of_us, mode)
        rows, events = training_rows_spilled(
            settings, project, model, bounds, mode=mode, memory_bytes=memory_bytes, run=run, track=track, **span
        )
    return build_from_events(
        settings.datasets_dir,
        model,
        events,
        start_us=start_us,
        end_us=end_us,
        as_of_us=as_of_us,
        mode=mode,
        sources=sources,
        others=others,
        rows=rows,
        tell=tell,
        track=track,
    )


def build_from_events(
    root: Path,
    model: Model,
    events: pa.Table,
    *,
    start_us: int,
    end_us: int,
    as_of_us: int,
    mode: Mode = "as_served",
    sources: dict[str, int] | None = None,
    others: Sequence[pa.Table] = (),
    rows: pa.Table | None = None,
    tell: Tell | None = None,
    track: Track = untracked,
) -> DatasetManifest:
    """Build a training set from a table of events that carries the outcome; for files and experiments.

    Args:
        root: ``Settings.datasets_dir``.
        model: whose inputs and label.
        events: see :func:`feature_store.training.training_rows.training_rows`.
        start_us: first event time.
        end_us: event time after the last.
        as_of_us: knowledge time.
        mode: ``as_served`` or ``corrected``.
        sources: ``<topic>:<partition>`` -> last offset the events were read to.
        others: events of each further stream, ``model.streams[1:]``.
        rows: computed already; ``events`` are then those they are of.
        tell: told what is done.
        track: told how far it is.

    Raises:
        ConfigError: the range is empty, or a column is missing or wrong.
        RejectedError: no event in the range has a known label.
    """
    if start_us >= end_us:
        raise ConfigError(
            f"the range {format_us(start_us)} to {format_us(end_us)} is empty", hint="give an end after the start"
        )
    say = tell or _silent
    say(f"{events.num_rows:,} events read")
    late = arrived_late_share(model, events, start_us, end_us) if mode == "as_served" else 0.0
    if late > 0.5:
        warnings.warn(
            f"{late:.0%} of the events arrived long after their time, as in a backfill: as served, hardly anything"
            " was known at each of them. With mode 'corrected' they count from their own time on",
            stacklevel=2,
        )
    if rows is None:
        span: dict[str, Any] = {"start_us": start_us, "end_us": end_us, "as_of_us": as_of_us}
        rows = training_rows(model, events, mode=mode, others=others, track=track, **span)
    if not rows.num_rows:
        raise RejectedError(
            f"no event from {format_us(start_us)} to {format_us(end_us)} has a label known at {format_us(as_of_us)}",
            hint=f"labels are known {model.label.delay} after their event; "
            + ("the log looks like a backfill: use mode corrected" if late > 0.5 else "move the range back"),
        )
    say(f"{rows.num_rows:,} rows of {len(model.feature_names)} features computed")
    manifest = DatasetManifest(
        dataset_id="",
        model=model.name,
        content_hash="",
        mode=mode,
        start_us=start_us,
        end_us=end_us,
        as_of_us=as_of_us,
        rows=rows.num_rows,
        positives=int(pc.sum(rows[model.label.value]).as_py()),
        features=model.feature_names,
        definitions=definitions_of(model),
        sources=sources or {},
        columns=tuple(rows.column_names),
    )
    written = write_dataset(root, rows, manifest)
    say(f"data set {written.dataset_id}: {written.rows:,} rows, {written.positives:,} positives")
    return written


def knowledge_time(as_of_us: int | None, *, now_us: int) -> int:
    """The instant asked for; now when none is.

    Raises:
        ConfigError: it is to come, and nobody can say what will be known then.
    """
    if as_of_us is None:
        return now_us
    if as_of_us > now_us:
        raise ConfigError(
            f"as of {format_us(as_of_us)} is in the future; it is {format_us(now_us)}",
            hint="give an instant that has passed, or none for what is known now",
        )
    return as_of_us


def rebuild_dataset(
    settings: Settings, project: Project, manifest: DatasetManifest, *, track: Track = untracked
) -> str:
    """Compute a data set again from the offline log, up to the offsets it was built from; returns its content hash.

    Raises:
        ConfigError: the project has no such model.
        RejectedError: the definitions have changed since, or the data set was not built from an offline log.
    """
    model = project.model(manifest.model)
    if definitions_of(model) != manifest.definitions or model.feature_names != manifest.features:
        raise RejectedError(
            f"data set {manifest.dataset_id} was built with other definitions than {model.name!r} has now",
            hint="check out the project as it was then",
        )
    if not manifest.sources:
        raise RejectedError(f"data set {manifest.dataset_id} was built from a table, not from the offline log")
    mode: Mode = "as_served" if manifest.mode == "as_served" else "corrected"
    span: dict[str, Any] = {"start_us": manifest.start_us, "end_us": manifest.end_us, "as_of_us": manifest.as_of_us}
    events, *others = _read(settings, project, model, manifest.sources, mode=mode, track=track, **span)
    rows = training_rows(model, events, mode=mode, others=others, track=track, **span)
    return content_hash(rows, manifest.definitions)


def verify_dataset(
    settings: Settings, project: Project | None, dataset_id: str, *, track: Track = untracked
) -> DatasetManifest:
    """Check that a data set holds what its manifest says and, given the project, that the log still gives the same.

    Raises:
        HeadraceError: there is no such data set.
        IntegrityError: its rows, or the rows computed again, are others.
        RejectedError: it cannot be computed again, see :func:`rebuild_dataset`.
    """
    folder = folder_of(settings.datasets_dir, dataset_id)
    manifest, _ = read_dataset(folder, lambda done, total: track("values read", done, total))
    if project is not None:
        digest = rebuild_dataset(settings, project, manifest, track=track)
        if digest != manifest.content_hash:
            raise IntegrityError(
                f"data set {dataset_id}: the offline log now gives rows of digest {digest[:12]}, not"
                f" {manifest.content_hash[:12]}",
                hint="segments of the log are missing or were replaced; the data set itself is whole",
            )
    return manifest


def _read(
    settings: Settings,
    project: Project,
    model: Model,
    sources: dict[str, int],
    *,
    start_us: int,
    end_us: int,
    as_of_us: int,
    mode: Mode,
    track: Track,
) -> list[pa.Table]:
    """Events a training set looks at, with their labels, of each of the model's streams."""
    bounds = _bounds(sources, as_of_us, mode)
    return [
        read_events(
            settings.offline_dir,
            project,
            stream,
            project.labels_of(stream),
            start_us=first_needed_us(model, stream, start_us),
            end_us=end_us,
            with_late=mode == "corrected",
            within=bounds,
            track=track,
        )
        for stream in model.streams
    ]


def _bounds(sources: dict[str, int], as_of_us: int, mode: Mode) -> LogBounds:
    return LogBounds(last_offsets=sources, labels_by_us=as_of_us if mode == "as_served" else None)


def _silent(_: str) -> None:
    return None
