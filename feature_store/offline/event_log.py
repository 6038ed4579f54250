"""Reading the event log: every event once, with its arrival and, when asked for, its label."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.offline.log_bounds import LogBounds
from feature_store.offline.log_reading import read_log
from feature_store.offline.offline_log import LogKind, log_folder, read_segment, segments
from feature_store.offline.repeated_ids import first_per_id, last_labels, on_time
from feature_store.offline_tables import (
    ARRIVAL,
    EARLIER_LABELS,
    LABEL_ARRIVAL,
    TIMESTAMP,
    event_schema,
    label_schema,
)
from feature_store.tracking import Track, untracked
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream

__all__ = ["first_event_us", "read_events", "read_labels"]


def read_events(
    offline_dir: Path,
    project: Project,
    stream: EventStream,
    labels: LabelStream | None = None,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    with_late: bool = True,
    within: LogBounds | None = None,
    track: Track = untracked,
) -> pa.Table:
    """Events of a stream from the offline log, in the order of source partition and offset.

    Of several events with one id the first to arrive is kept, whatever its time; only then the range is applied. Within
    a partition messages arrived as they stand, whatever their timestamps say.

    Args:
        offline_dir: ``Settings.offline_dir``.
        project: whose log.
        stream: which stream.
        labels: adds the column of the outcome (null while unknown), ``_label_arrival``, since when it stands, and
            ``_earlier_labels``, those it corrected.
        start_us: keep events at or after this instant.
        end_us: keep events before this instant.
        with_late: keep events that came too late for the stream, which no online value ever saw; without them a copy
            that came in time is the first.
        within: how far to read, decided before duplicates are; all of the log when absent.
        track: told how far reading is.

    Returns:
        The columns of :func:`feature_store.offline_tables.event_schema`, and those three with labels.
    """
    events = _read(offline_dir, project, "events", stream.name, event_schema(stream), within, track)
    if not with_late:
        events = on_time(events)
    events = first_per_id(events, stream.id)
    times = events[stream.time]
    keep = None
    for bound_us, compare in ((start_us, pc.greater_equal), (end_us, pc.less)):
        if bound_us is not None:
            inside = compare(times, pa.scalar(bound_us, TIMESTAMP))
            keep = inside if keep is None else pc.and_(keep, inside)
    if keep is not None:
        events = events.filter(keep)
    if labels is None:
        return events
    return _with_labels(events, stream, labels, read_labels(offline_dir, project, labels, within, track))


def first_event_us(offline_dir: Path, project: Project, stream: EventStream) -> int | None:
    """Time of the earliest event in the oldest segment of any partition; None while the log is empty."""
    firsts = []
    for folder in log_folder(offline_dir, project.name, "events", stream.name).glob("partition=*"):
        for segment in segments(folder)[:1]:
            times = read_segment(segment.path, [stream.time])[stream.time].cast(pa.int64())
            if (earliest := pc.min(times).as_py()) is not None:
                firsts.append(int(earliest))
    return min(firsts, default=None)


def read_labels(
    offline_dir: Path,
    project: Project,
    labels: LabelStream,
    within: LogBounds | None = None,
    track: Track = untracked,
) -> pa.Table:
    """Labels from the offline log, one per event id, as :func:`last_labels` says."""
    table = _read(offline_dir, project, "labels", labels.name, label_schema(labels), within, track)
    return last_labels(table, labels.of.id, labels.value)


def _read(
    offline_dir: Path,
    project: Project,
    kind: LogKind,
    topic: str,
    schema: pa.Schema,
    within: LogBounds | None,
    track: Track,
) -> pa.Table:
    table = read_log(log_folder(offline_dir, project.name, kind, topic), schema, track)
    return table if within is None else within.keep(table, kind, topic)


def _with_labels(events: pa.Table, stream: EventStream, labels: LabelStream, known: pa.Table) -> pa.Table:
    # A join of pyarrow would change the order of rows.
    row = pc.index_in(events[stream.id], value_set=known[stream.id].combine_chunks())
    for name, column in ((labels.value, labels.value), (LABEL_ARRIVAL, ARRIVAL), (EARLIER_LABELS, EARLIER_LABELS)):
        events = events.append_column(name, known[column].take(row))
    return events
