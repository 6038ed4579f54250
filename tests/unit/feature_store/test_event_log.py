"""The event log is read once per id, with arrivals and labels."""

from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.offline.event_log import read_events, read_labels
from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from headrace import EventStream, Float64, Int64, LabelStream, Project, String

CLICKS = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "price": Float64})
BOUGHT = LabelStream("bought", of=CLICKS, value="buys", delay="1d")
NAMED = EventStream("named", key="user", time="at", id="click", schema={"user": Int64, "click": String})


def _project(path: Path) -> Project:
    return Project(name="shop", path=path, streams=(CLICKS,), labels=(BOUGHT,), views=(), requests=(), models=())


def _write_events(root: Path, partition: int, first: int, rows: list[tuple[int, int, int, bool]]) -> None:
    """Rows are (id, time_us, arrival_us, late)."""
    columns = {
        "user": [1] * len(rows),
        "price": [0.5] * len(rows),
        "click": [row[0] for row in rows],
        "at": [row[1] for row in rows],
        "_arrival": [row[2] for row in rows],
        "_partition": [partition] * len(rows),
        "_offset": list(range(first, first + len(rows))),
        "_late": [row[3] for row in rows],
    }
    table = pa.table({name: pa.array(columns[name], event_schema(CLICKS).field(name).type) for name in columns})
    folder = log_folder(root, "shop", "events", "clicks", partition)
    write_segment(table.select(event_schema(CLICKS).names), folder, first, first + len(rows) - 1)


def _write_labels(root: Path, rows: list[tuple[int, int, int]]) -> None:
    """Rows are (id, outcome, arrival_us)."""
    columns = [*map(list, zip(*rows, strict=True)), [0] * len(rows), range(len(rows))]
    table = pa.table(columns, names=label_schema(BOUGHT).names).cast(label_schema(BOUGHT))
    write_segment(table, log_folder(root, "shop", "labels", "bought", 0), 0, len(rows) - 1)


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    _write_events(tmp_path, 0, 0, [(1, 10, 100, False), (2, 20, 110, False), (1, 30, 120, False)])
    _write_events(tmp_path, 0, 3, [(3, 40, 130, True)])
    _write_events(tmp_path, 1, 0, [(2, 99, 105, False), (4, 50, 140, False)])
    _write_labels(tmp_path, [(2, 0, 500), (4, 1, 510), (2, 1, 520), (77, 1, 530)])
    return tmp_path


def test_of_one_id_the_first_to_arrive_is_kept(offline: Path) -> None:
    events = read_events(offline, _project(offline), CLICKS)

    assert list(zip(events["click"].to_pylist(), _us(events["at"]), strict=True)) == [
        (1, 10),
        (3, 40),
        (2, 99),
        (4, 50),
    ]
    assert events.schema.equals(event_schema(CLICKS))


def test_the_range_is_half_open_and_applied_after_duplicates_are_gone(offline: Path) -> None:
    events = read_events(offline, _project(offline), CLICKS, start_us=20, end_us=50)

    assert events["click"].to_pylist() == [3]


def test_late_events_can_be_left_out(offline: Path) -> None:
    assert read_events(offline, _project(offline), CLICKS, with_late=False)["click"].to_pylist() == [1, 2, 4]


def test_labels_are_joined_and_the_last_to_arrive_counts(offline: Path) -> None:
    events = read_events(offline, _project(offline), CLICKS, BOUGHT)

    assert events["buys"].to_pylist() == [None, None, 1, 1]
    assert _us(events["_label_arrival"]) == [None, None, 520, 510]
    assert sorted(read_labels(offline, _project(offline), BOUGHT)["click"].to_pylist()) == [2, 4, 77]


def test_labels_that_were_corrected_are_told_and_what_is_said_again_is_known_since_the_first(tmp_path: Path) -> None:
    _write_events(tmp_path, 0, 0, [(7, 10, 100, False), (8, 20, 110, False), (9, 30, 120, False)])
    said = [(7, 0, 300), (7, 0, 310), (8, 1, 320), (7, 1, 330), (7, 0, 340), (7, 0, 350), (8, 1, 360)]
    _write_labels(tmp_path, said)

    events = read_events(tmp_path, _project(tmp_path), CLICKS, BOUGHT)

    assert events["buys"].to_pylist() == [0, 1, None]
    assert _us(events["_label_arrival"]) == [340, 320, None]
    assert [[tuple(label.values()) for label in row or ()] for row in events["_earlier_labels"].to_pylist()] == [
        [(300, 0), (330, 1)],
        [],
        [],
    ]


def test_messages_of_a_partition_arrived_as_they_stand_whatever_their_timestamps(tmp_path: Path) -> None:
    """What stands before a label that had arrived is never seen; a partition's clock may be behind another's."""
    _write_events(tmp_path, 0, 0, [(7, 10, 500, False), (7, 20, 400, False), (8, 30, 450, False)])
    _write_events(tmp_path, 1, 0, [(8, 40, 480, False), (7, 50, 90, False)])
    _write_labels(tmp_path, [(7, 0, 620), (7, 1, 610), (8, 1, 630), (8, 0, 640), (8, 1, 640)])

    events = read_events(tmp_path, _project(tmp_path), CLICKS, BOUGHT)

    assert list(zip(events["click"].to_pylist(), _us(events["at"]), strict=True)) == [(8, 40), (7, 50)]
    assert dict(zip(events["click"].to_pylist(), events["buys"].to_pylist(), strict=True)) == {7: 1, 8: 1}
    assert dict(zip(events["click"].to_pylist(), _us(events["_label_arrival"]), strict=True)) == {7: 610, 8: 630}
    assert not any(events["_earlier_labels"].to_pylist())


def test_without_late_events_a_copy_that_came_in_time_counts(tmp_path: Path) -> None:
    _write_events(tmp_path, 0, 0, [(7, 10, 500, True), (7, 490, 510, False), (7, 495, 520, False)])

    for with_late, at in ((True, 10), (False, 490)):
        assert _us(read_events(tmp_path, _project(tmp_path), CLICKS, with_late=with_late)["at"]) == [at]


def test_an_empty_log_has_the_columns_and_no_rows(tmp_path: Path) -> None:
    events = read_events(tmp_path, _project(tmp_path), CLICKS, BOUGHT)

    assert events.num_rows == 0
    assert events.column_names == [*event_schema(CLICKS).names, "buys", "_label_arrival", "_earlier_labels"]


def test_text_ids_are_told_apart(tmp_path: Path) -> None:
    schema = event_schema(NAMED)
    table = pa.table(
        [[1, 1, 1], ["a", "b", "a"], [1, 2, 3], [1, 2, 3], [0] * 3, range(3), [False] * 3], names=schema.names
    ).cast(schema)
    write_segment(table, log_folder(tmp_path, "shop", "events", "named", 0), 0, 2)

    assert read_events(tmp_path, _project(tmp_path), NAMED)["click"].to_pylist() == ["a", "b"]


def _us(column: pa.ChunkedArray) -> list[int | None]:
    return column.cast(pa.int64()).to_pylist()
