"""Handing a backfilled view to the worker: its log, its state at a switch point, and the word that it is live.

In this order, so that a run killed in between leaves a view that waits, and can be run again.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.definitions.applied_views import AppliedView, change_applied
from feature_store.offline.offline_log import (
    Segment,
    list_files,
    log_folder,
    read_segment,
    segment_path,
    segments,
    sync_folder,
)
from feature_store.offline_tables import EVENT_TIMESTAMP, TIMESTAMP, VERSION
from feature_store.online.gone_rows import GoneKeys
from feature_store.plan import ViewPlan
from feature_store.state.forget import held_keys
from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.spec.project import Project
from headrace.spec.streams import LabelledStream
from headrace.spec.view_definition import describe_view
from streams.backfill.backfill import Backfill
from streams.backfill.switch_point import SwitchPoint
from streams.logs.keyed_log import EVENTS, NO_TIME_US, KeyedBatch, SourceMark
from streams.logs.log_replay import Place
from streams.snapshots.snapshot_chain import write_only
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_places import definitions_saved, remove_definition, snapshot_store
from streams.views.open_views import renewed, state_watermark_us
from streams.views.source_marks import SourceMarks
from streams.views.view_task import OnlineRows

__all__ = ["applied_offsets", "go_live"]

I64 = NDArray[np.int64]


def applied_offsets(plan: ViewPlan, snapshot: Snapshot) -> dict[str, I64]:
    """Source topic -> (P,) newest offset a snapshot reflects."""
    found: dict[str, dict[int, int]] = {}
    for place, offset in _marks_of(plan, snapshot).applied().items():
        topic, _, number = place.rpartition(":")
        found.setdefault(topic, {})[int(number)] = offset
    return {topic: np.array([offsets[n] for n in sorted(offsets)], np.int64) for topic, offsets in found.items()}


def go_live(
    settings: Settings,
    project: Project,
    backfill: Backfill,
    switches: Sequence[SwitchPoint],
    online: OnlineRows,
    *,
    since_us: int | None,
    rows_per_s: float,
) -> int:
    """Put the outcome where the worker looks for it, then say that the view is live; gives the rows of its log.

    Args:
        settings: where logs and state are.
        project: of the view.
        backfill: saved, and read to the end.
        switches: one for each partition of the keyed log.
        online: where rows of keys without events go; the worker writes the others.
        since_us: first instant whose rows are kept.
        rows_per_s: measured, for the next estimate.

    Raises:
        RejectedError: no worker of this home has run yet.
    """
    plan, rows = backfill.plan, 0
    for partition, switch in enumerate(switches):
        snapshot = backfill.snapshot(partition)
        if snapshot is None or switch.offset < 0:
            raise RejectedError(
                f"the keyed log of {plan.view.entity!r} is empty", hint="start `headrace run stream` with this project"
            )
        folder = log_folder(settings.offline_dir, project.name, "features", plan.view.name, partition)
        gone = GoneKeys(plan, held_keys(plan, dict(snapshot.state)))
        rows += _move_log(backfill.log(partition), folder, switch.offset, since_us, gone)
        watermark_us = state_watermark_us(snapshot)
        if len(left := gone.rows(watermark_us)) and not plan.view.has_lifetime:
            online.write(plan, partition, left, version=switch.offset, watermark_us=watermark_us)
        store = snapshot_store(settings, project.name, plan.view.name, plan.version, partition)
        write_only(store, _at_switch(plan, snapshot, switch))
    with change_applied(settings, project.name) as pen:
        if pen.views is None:
            raise RejectedError(
                f"no stream worker of project {project.name!r} has run in this home",
                hint="start `headrace run stream` with this project, then run the command again",
            )
        entry = AppliedView(definition=describe_view(plan.view), rows_per_s=rows_per_s)
        pen.views = pen.views.with_view(entry)
    _remove_former(settings, project, plan)
    shutil.rmtree(backfill.folder, ignore_errors=True)
    return rows


def _at_switch(plan: ViewPlan, snapshot: Snapshot, switch: SwitchPoint) -> Snapshot:
    """The state as the worker would have saved it at the switch, every row due to be written online."""
    marks = _marks_of(plan, snapshot)
    for topic, offsets in applied_offsets(plan, snapshot).items():
        said = tuple(_said(switch, (topic, number)) for number in range(len(offsets)))
        nothing = np.empty(0, dtype=np.int64)
        marks.update(
            KeyedBatch(
                kind=EVENTS,
                topic=topic,
                partitions=len(offsets),
                marks=said,
                sources=nothing.astype(np.int32),
                offsets=nothing,
                ids=nothing,
            )
        )
    return renewed(plan, replace(snapshot, offset=switch.offset, marks=marks.arrays()))


def _marks_of(plan: ViewPlan, snapshot: Snapshot) -> SourceMarks:
    source = plan.view.source
    marks = SourceMarks(plan.view.events.name, source.labels.name if isinstance(source, LabelledStream) else None)
    marks.restore(snapshot.marks)
    return marks


def _said(switch: SwitchPoint, place: Place) -> SourceMark:
    """What the keyed log says of a source partition at the switch; what was applied is known better."""
    said = switch.marks.get(place)
    if said is not None:
        return SourceMark(partition=place[1], offset=-1, newest_us=said.newest_us, idle=said.idle, epoch=said.epoch)
    # Heard only behind the switch: awake until it says otherwise. Never heard: nobody waits for it.
    return SourceMark(partition=place[1], offset=-1, newest_us=NO_TIME_US, idle=place in switch.silent)


def _move_log(source: Path, target: Path, last: int, since_us: int | None, gone: GoneKeys) -> int:
    """Write the rows as segments of the offsets 0 to ``last``; what lay there was of a former definition."""
    parts = segments(source)
    count = min(len(parts), last + 1)
    groups = [parts[n * len(parts) // count : (n + 1) * len(parts) // count] for n in range(count)]
    for segment in reversed(list_files(target)):
        segment.path.unlink(missing_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    rows = sum(
        _write(group, segment_path(target, n, n if n < count - 1 else last), last, since_us, gone)
        for n, group in enumerate(groups)
    )
    sync_folder(target)
    return rows


def _write(group: Sequence[Segment], path: Path, version: int, since_us: int | None, gone: GoneKeys) -> int:
    """One file of several, a piece at a time."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    rows = 0
    writer: Any = None
    with unfinished.open("wb") as file:
        for table in _pieces(group, version, since_us):
            writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
            gone.add(table)
            rows += table.num_rows
        if writer is not None:
            writer.close()
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    return rows


def _pieces(group: Sequence[Segment], version: int, since_us: int | None) -> Iterator[pa.Table]:
    for segment in group:
        table = read_segment(segment.path)
        if since_us is not None:
            table = table.filter(pc.greater_equal(table[EVENT_TIMESTAMP], pa.scalar(since_us, TIMESTAMP)))
        place = table.column_names.index(VERSION)
        # The offsets of a backfill are its own; what the rows reflect stands in the keyed log up to the switch.
        column = pa.array(np.full(table.num_rows, version), pa.int64())
        yield table.set_column(place, table.schema.field(VERSION), column)


def _remove_former(settings: Settings, project: Project, plan: ViewPlan) -> None:
    for name, version in definitions_saved(settings, project.name):
        if name == plan.view.name and version != plan.version:
            remove_definition(settings, project.name, name, version)
