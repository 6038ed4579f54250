"""A file of labels gives each event one label: the last of several, as a computed file has it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import EventStream, Int64, LabelStream
from headrace.errors import ConfigError
from streams.formats.event_file import read_event_file

_EVENTS = EventStream("events", key="key", time="at", id="id", schema={"key": Int64, "id": Int64})
_LABELS = LabelStream("labels", of=_EVENTS, value="bad", delay="1h")
_START = datetime(2024, 5, 1, tzinfo=UTC)


def _read(tmp_path: Path, ids: list[int | None], labels: list[tuple[int | None, int | None]]) -> pa.Table:
    events, outcomes = tmp_path / "events.parquet", tmp_path / "labels.parquet"
    times = pa.array([_START + timedelta(seconds=n) for n in range(len(ids))], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"KEY": [1] * len(ids), "id": pa.array(ids, pa.int64()), "at": times}), events)
    named, values = [line[0] for line in labels], [line[1] for line in labels]
    pq.write_table(pa.table({"id": pa.array(named, pa.int32()), "Bad": pa.array(values, pa.int64())}), outcomes)
    table, declared = read_event_file(events, outcomes, _EVENTS, _LABELS)
    assert declared is _LABELS
    return table


def test_of_several_labels_of_an_id_the_last_counts_and_the_event_is_published_once(tmp_path: Path) -> None:
    """Also where the last one takes the label back; labels of other events, and of none, are nobody's."""
    table = _read(
        tmp_path, [3, 1, 2, 4, None], [(1, 0), (2, 1), (9, 1), (1, 1), (3, 1), (2, 0), (1, 0), (3, None), (None, 1)]
    )
    assert table["id"].to_pylist() == [3, 1, 2, 4, None]
    assert table["bad"].to_pylist() == [None, 0, 0, None, None]


def test_an_empty_file_of_labels_leaves_none(tmp_path: Path) -> None:
    """The column is there all the same."""
    assert _read(tmp_path, [2, 1], [])["bad"].to_pylist() == [None, None]


def test_of_many_labels_the_last_counts(tmp_path: Path) -> None:
    """Events stay in the order of their file."""
    ids = [number * 7 % 5_000 for number in range(5_000)]
    table = _read(tmp_path, list(ids), [(number % 5_000, number) for number in range(20_000)])
    assert table["id"].to_pylist() == ids
    assert table["bad"].to_pylist() == [15_000 + number for number in ids]


def test_labels_of_a_stream_that_has_none_are_refused(tmp_path: Path) -> None:
    events, outcomes = tmp_path / "events.parquet", tmp_path / "labels.parquet"
    at = pa.array([0], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"id": [1], "key": [1], "at": at}), events)
    pq.write_table(pa.table({"id": [1], "bad": [1]}), outcomes)

    with pytest.raises(ConfigError, match="has no labels"):
        read_event_file(events, outcomes, _EVENTS, None)
