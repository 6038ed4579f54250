"""Parquet files of events and labels, columns named in any case."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.errors import ConfigError
from headrace.spec.streams import EventStream, LabelStream

__all__ = ["read_event_file"]


def read_event_file(
    events: Path, labels: Path | None, stream: EventStream, declared: LabelStream | None
) -> tuple[pa.Table, LabelStream | None]:
    """Events under their declared names and, where they are known, their labels as one more column.

    Returns:
        The table, time as timestamp[us, UTC], and the label stream when labels are there.

    Raises:
        ConfigError: a file does not exist, a column is missing, or times carry no zone.
    """
    table = _named(_read(events), [*stream.published, stream.time], [declared.value] if declared else [], events)
    moment = table.schema.field(stream.time).type
    if not pa.types.is_timestamp(moment) or moment.tz is None:
        raise ConfigError(
            f"{events}: column {stream.time!r} is {moment}, not a timestamp with a zone",
            hint="write it as timestamp[us, UTC]",
        )
    place = table.column_names.index(stream.time)
    table = table.set_column(place, stream.time, table[stream.time].cast(pa.timestamp("us", tz="UTC")))
    if declared is None and labels is not None:
        raise ConfigError(f"{labels}: stream {stream.name!r} has no labels", hint="leave --labels out, or declare them")
    if declared is None:
        return table, None
    if labels is not None:
        outcomes = _named(_read(labels), [stream.id, declared.value], [], labels)
        kept = [name for name in table.column_names if name != declared.value]
        # Backwards, so that the first one found is the last of an event's labels, as files are computed with.
        outcomes = outcomes.take(np.arange(len(outcomes))[::-1])
        labelled = outcomes[stream.id].combine_chunks().cast(table.schema.field(stream.id).type)
        rows = pc.index_in(table[stream.id], value_set=labelled, skip_nulls=True)
        table = table.select(kept).append_column(declared.value, outcomes[declared.value].take(rows))
    return table, declared if declared.value in table.column_names else None


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="give a Parquet file") from error


def _named(table: pa.Table, wanted: list[str], optional: list[str], path: Path) -> pa.Table:
    known = {name.lower(): name for name in reversed(table.column_names)} | {name: name for name in table.column_names}
    missing = [name for name in wanted if name not in known and name.lower() not in known]
    if missing:
        raise ConfigError(f"{path} has no column {missing[0]!r}", hint=f"it has {', '.join(table.column_names)}")
    names = wanted + [name for name in optional if name in known or name.lower() in known]
    return table.select([known.get(name, known.get(name.lower(), "")) for name in names]).rename_columns(names)
