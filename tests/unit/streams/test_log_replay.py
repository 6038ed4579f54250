"""The offline log in the order of arrival: every row once, whatever the files are, from any offset on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.offline.offline_log import write_segment
from feature_store.offline_tables import event_schema
from headrace import EventStream, Float64, Int64, String
from streams.logs.log_replay import LoggedTopic, LogReplay, Stretch

TX = EventStream(
    "tx",
    key="card",
    time="at",
    id="id",
    schema={"card": String, "eur": Float64(nullable=True), "n": Int64(nullable=True)},
)
SILENCE_US = 100
Row = tuple[int, int, int]
"""(partition, offset, arrival)."""


def write(folder: Path, rows: list[Row], cuts: int) -> None:
    """Segments of at most ``cuts`` rows; offsets may repeat, as of a message of many events, but not across files."""
    schema = event_schema(TX)
    for partition in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == partition]
        while mine:
            end = min(cuts, len(mine))
            while end < len(mine) and mine[end][1] == mine[end - 1][1]:
                end += 1
            part, mine = mine[:end], mine[end:]
            columns = {
                "card": [f"k{offset}" for _, offset, _ in part],
                "eur": [None if offset % 3 else offset / 2 for _, offset, _ in part],
                "n": [None if offset % 2 else offset for _, offset, _ in part],
                "id": [partition * 1000 + offset for _, offset, _ in part],
                "at": [arrival for *_, arrival in part],
                "_arrival": [arrival for *_, arrival in part],
                "_partition": [partition] * len(part),
                "_offset": [offset for _, offset, _ in part],
                "_late": [offset % 5 == 0 for _, offset, _ in part],
            }
            table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in schema})
            write_segment(table, folder / f"partition={partition}", part[0][1], part[-1][1])


def replay(folder: Path, partitions: int, rows: int, starts: dict[tuple[str, int], int] | None = None) -> list[Stretch]:
    topic = LoggedTopic(name="tx", folder=folder, schema=event_schema(TX), time="at", partitions=partitions)
    return list(LogReplay([topic], starts or {}, rows=rows, silence_us=SILENCE_US))


def seen(stretches: list[Stretch]) -> list[Row]:
    return [
        row
        for stretch in stretches
        for part in stretch.rows.values()
        for row in zip(part.partitions.tolist(), part.offsets.tolist(), part.arrivals_us.tolist(), strict=True)
    ]


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    rows = []
    for partition in range(draw(st.integers(1, 3))):
        arrival, offset = 1_000, -1
        for _ in range(draw(st.integers(0, 12))):
            # A producer's clock may go back, and a message may hold several events.
            if draw(st.integers(0, 4)) or offset < 0:
                offset += draw(st.integers(1, 3))
                arrival += draw(st.sampled_from([0, 1, 7, 40, 300, -5]))
            rows.append((partition, offset, arrival))
    return rows


@settings(deadline=None)
@given(logs(), st.integers(1, 9), st.integers(1, 9), st.data())
def test_every_row_comes_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], cuts: int, size: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    write(folder, rows, cuts)
    partitions = max((row[0] for row in rows), default=0) + 1
    stretches = replay(folder, partitions, size)
    found = seen(stretches)

    assert sorted(found) == sorted(rows)
    for partition in range(partitions):
        assert [row for row in found if row[0] == partition] == [row for row in rows if row[0] == partition]
    told = [row for stretch in stretches for row in seen([stretch])]
    for stretch in stretches:
        given, told = told[: len(seen([stretch]))], told[len(seen([stretch])) :]
        # What is covered has been given, and what comes later is not covered: so a killed run goes on from there.
        assert all(offset > stretch.covered["tx", partition] for partition, offset, _ in told)
        assert all(offset <= stretch.covered["tx", partition] + 1 for partition, offset, _ in given)
    start = data.draw(st.integers(0, 12))
    again = seen(replay(folder, partitions, size, {("tx", 0): start}))
    assert sorted(again) == sorted(row for row in rows if row[0] != 0 or row[1] >= start)
    if stretches and rows:
        ends = {partition: max(row[1] for row in rows if row[0] == partition) for partition in {row[0] for row in rows}}
        assert all(stretches[-1].covered["tx", partition] == end for partition, end in ends.items())


def test_nobody_runs_ahead_of_a_partition_that_was_read_less_far(tmp_path: Path) -> None:
    write(
        tmp_path,
        [(0, offset, 10 * offset) for offset in range(9)] + [(1, offset, 30 * offset) for offset in range(3)],
        2,
    )

    assert [row[2] for row in seen(replay(tmp_path, 2, 1))] == [0, 0, 10, 20, 30, 30, 40, 50, 60, 60, 70, 80]


def test_a_silent_partition_is_idle_and_one_that_ended_lately_is_not(tmp_path: Path) -> None:
    write(tmp_path, [(0, offset, 50 * offset) for offset in range(9)] + [(1, 0, 40), (1, 1, 290), (2, 0, 380)], 4)
    stretches = replay(tmp_path, 4, 1)
    idle = {
        row[2]: [stretch.idle["tx", number] for number in range(4)] for stretch in stretches for row in seen([stretch])
    }

    assert [until for until, (first, *_) in idle.items() if first] == []
    assert [until for until, (_, second, *_) in idle.items() if second] == [40, 50, 100, 150, 200, 250, 400]
    assert [until for until, (*_, third, _) in idle.items() if third] == [0, 40, 50, 100, 150, 200, 250]
    assert all(fourth for *_, fourth in idle.values())


def test_values_are_those_the_source_task_had(tmp_path: Path) -> None:
    write(tmp_path, [(0, offset, offset) for offset in range(4)], 9)
    (part,) = [stretch.rows["tx"] for stretch in replay(tmp_path, 1, 100)]

    assert part.columns["card"].tolist() == ["k0", "k1", "k2", "k3"]
    np.testing.assert_array_equal(part.columns["eur"], [0.0, np.nan, np.nan, 1.5])
    assert part.columns["n"].dtype == np.int64
    assert part.nulls["n"].tolist() == [False, True, False, True]
    assert part.late.tolist() == [True, False, False, False]


def test_an_empty_log_says_once_that_nobody_is_waited_for(tmp_path: Path) -> None:
    (stretch,) = replay(tmp_path, 2, 5)

    assert not stretch.rows
    assert stretch.covered == {("tx", 0): -1, ("tx", 1): -1}
    assert all(stretch.idle.values())
