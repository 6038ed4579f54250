"""The events a demo replays: the shipped world, or a file of one's own, day by day."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.clock import format_us
from headrace.demo.generator import Drift, World, generate
from headrace.errors import ConfigError
from headrace.spec.streams import EventStream, LabelStream

__all__ = ["DAY_US", "Source", "generated", "read_file"]

DAY_US = 86_400_000_000

OWN_WORLD = World(days=60, drifts=(Drift(kind="camouflage", day=38, strength=2.0),))
"""The demo's own data: two months, in which thieves learn to hide in week 6."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Events with their labels, columns named as declared, sorted by time."""

    title: str
    table: pa.Table
    times_us: np.ndarray
    start_us: int
    """Midnight before the first event."""
    days: int
    stream: EventStream
    labels: LabelStream

    def day_end_us(self, day: int) -> int:
        """First instant after a day."""
        return self.start_us + (day + 1) * DAY_US

    def day_of(self, instant_us: int) -> float:
        """Days since the start."""
        return (instant_us - self.start_us) / DAY_US

    def rows_of(self, day: int) -> slice:
        """Positions of a day's events."""
        low, high = np.searchsorted(self.times_us, [self.day_end_us(day - 1), self.day_end_us(day)])
        return slice(int(low), int(high))

    def requests(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """Events as a foreign service would send them: JSON values, no label."""
        names = [name for name in self.stream.schema if name in self.table.column_names]
        rows = self.table.select(names).take(pa.array(positions, pa.int64())).to_pylist()
        return [
            {**row, self.stream.time: format_us(int(self.times_us[position]))}
            for row, position in zip(rows, positions, strict=True)
        ]

    def frauds(self) -> np.ndarray:
        """(N,) labels, 0 or 1."""
        return np.asarray(self.table[self.labels.value].to_numpy())


def generated(stream: EventStream, labels: LabelStream, *, days: int | None = None) -> Source:
    """The shipped world; ``days`` cuts it short."""
    table = generate(OWN_WORLD)
    source = _source("Card fraud, generated stream", table, stream, labels)
    if days is None or days >= source.days:
        return source
    kept = int(np.searchsorted(source.times_us, source.day_end_us(days - 1)))
    return _source(source.title, table.slice(0, kept), stream, labels)


def read_file(path: Path, stream: EventStream, labels: LabelStream, *, days: int | None = None) -> Source:
    """A Parquet file with the stream's columns and the label, names matched without regard to case.

    Raises:
        ConfigError: no such file, or a column is missing.
    """
    if not path.exists():
        raise ConfigError(f"data file {path} does not exist", hint="give DATA=path.parquet, or none for generated data")
    table = pq.read_table(path)
    wanted = [*stream.schema, stream.time, labels.value]
    known = {name.lower(): name for name in reversed(table.column_names)}
    missing = [name for name in wanted if name.lower() not in known]
    if missing:
        raise ConfigError(
            f"{path} has no column {missing[0]!r}", hint=f"it needs {', '.join(wanted)}; it has {table.column_names}"
        )
    table = table.select([known[name.lower()] for name in wanted]).rename_columns(wanted)
    source = _source(f"Card fraud, {path.name}", table, stream, labels)
    if days is None or days >= source.days:
        return source
    return _source(
        source.title,
        source.table.slice(0, int(np.searchsorted(source.times_us, source.day_end_us(days - 1)))),
        stream,
        labels,
    )


def _source(title: str, table: pa.Table, stream: EventStream, labels: LabelStream) -> Source:
    times = table[stream.time].cast(pa.timestamp("us", tz="UTC"))
    table = table.set_column(table.column_names.index(stream.time), stream.time, times)
    table = table.sort_by([(stream.time, "ascending"), (stream.id, "ascending")])
    times_us = np.asarray(table[stream.time].cast(pa.int64()).to_numpy())
    start_us = int(times_us[0]) // DAY_US * DAY_US
    return Source(
        title=title,
        table=table,
        times_us=times_us,
        start_us=start_us,
        days=int((times_us[-1] - start_us) // DAY_US) + 1,
        stream=stream,
        labels=labels,
    )
