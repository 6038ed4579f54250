"""Where a backfilled view goes on: behind nothing newer than the log, whatever a killed worker has sent twice.

The keyed log is written as text: ``a5`` a row of partition a at offset 5, ``A5`` its mark, a blank between messages.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import IntegrityError
from streams.backfill.switch_point import BehindError, SwitchPoint, find_switch
from streams.logs.keyed_log import EVENTS, KeyedBatch, SourceMark


def batch_of(text: str, columns: tuple[str, ...] = ("eur",), epoch: int = 0) -> KeyedBatch:
    rows = [("ab".index(word[0]), int(word[1:])) for word in text.split(",") if word and word[0] in "ab"]
    marks = [("AB".index(word[0]), int(word[1:])) for word in text.split(",") if word and word[0] in "AB"]
    return KeyedBatch(
        kind=EVENTS,
        topic="tx",
        partitions=2,
        marks=tuple(SourceMark(number, offset, offset * 10, False, epoch) for number, offset in marks),
        sources=np.array([number for number, _ in rows], dtype=np.int32),
        offsets=np.array([offset for _, offset in rows], dtype=np.int64),
        ids=np.arange(len(rows)),
        columns={name: np.zeros(len(rows), dtype=np.int64) for name in columns},
    )


def switch(
    log: list[KeyedBatch],
    applied: tuple[int, int],
    *,
    first: int = 0,
    columns: tuple[str, ...] = (),
    epochs: dict[tuple[str, int], int] | None = None,
) -> SwitchPoint:
    return find_switch(
        lambda start, stop: [(offset, log[offset]) for offset in range(start, stop)],
        first,
        len(log),
        {"tx": np.array(applied)},
        columns,
        epochs,
        where="keyed:0",
    )


def test_it_goes_on_before_the_first_newer_row() -> None:
    log = [batch_of(text) for text in ("A-1,B-1", "a0,a1,A1", "b0,B0", "a2,A2", "b1,B1")]

    assert switch(log, (1, 0)).offset == 2
    assert switch(log, (2, 0)).offset == 3
    assert switch(log, (2, 1)).offset == 4


def test_what_a_killed_worker_sent_before_it_fell_is_read_again() -> None:
    log = [batch_of(text) for text in ("A-1,B-1", "a0,A0", "a1,A1", "a2,A2", "A0,B-1", "a1,A1", "a2,A2", "a3,A3")]

    assert switch(log, (1, -1)).offset == 2


def test_a_batch_in_pieces_is_read_from_its_beginning() -> None:
    log = [batch_of(text) for text in ("A-1,B-1", "a0,a1", "a2", "a3,A3")]

    assert switch(log, (-1, -1)).offset == 0
    assert switch(log, (0, -1)).offset == 0


def test_marks_are_those_before_it_and_who_was_never_heard_is_silent() -> None:
    log = [batch_of(text) for text in ("x",) * 3] + [batch_of(text) for text in ("a4,A4", "a5,A5", "a6,A6")]
    found = switch(log, (5, 9), first=3)

    assert found.offset == 4
    assert found.marks["tx", 0].offset == 5
    assert found.silent == frozenset({("tx", 1)})


def test_a_keyed_log_that_begins_later_than_the_log_ends_is_read_on_for() -> None:
    """As of an entity nobody had a view of: what was before stands in the offline log only."""
    log = [batch_of("A7,B3"), batch_of("a8,A8")]

    with pytest.raises(BehindError, match="begins at offset 8 of tx:0"):
        switch(log, (5, 3))
    assert switch(log, (7, 3)).offset == 0


def test_what_a_former_owner_says_proves_nothing() -> None:
    """It was paused while its partition moved, and the present owner is far beyond."""
    log = [batch_of(text) for text in ("A-1,B-1", "a0,a1,A1", "b0,B0")]
    owners = {("tx", 0): 9, ("tx", 1): 0}

    assert switch(log, (0, 0)).offset == 0
    with pytest.raises(BehindError, match="says nothing of tx:0"):
        switch(log, (0, 0), epochs=owners)
    assert switch([*log, batch_of("A0", epoch=9), batch_of("a1,A1", epoch=9)], (0, 0), epochs=owners).offset == 0


def test_a_log_of_which_nothing_is_known_yet_is_waited_for() -> None:
    with pytest.raises(BehindError, match="says nothing of tx:1"):
        switch([batch_of("A0")], (0, 0))


def test_rows_that_left_the_keyed_log_are_named() -> None:
    log = [batch_of("x"), batch_of("a8,A8"), batch_of("b4,B4")]

    with pytest.raises(IntegrityError, match="behind offset 5 of tx:0"):
        switch(log, (5, 4), first=1)


def test_rows_without_an_input_must_be_in_the_log() -> None:
    log = [batch_of("A-1,B-1"), batch_of("a0,A0"), batch_of("a1,A1", ("eur", "n"))]

    with pytest.raises(BehindError, match="without 'n'"):
        switch(log, (-1, -1), columns=("n",))
    assert switch(log, (0, -1), columns=("n",)).offset == 1


@given(st.data())
def test_every_row_newer_than_the_log_comes_behind_the_switch(data: st.DataObject) -> None:
    """Runs that were killed anywhere begin again at a commit, and commits say less than the offline log."""
    log, committed, at = [batch_of("A-1,B-1")], [0, 0], [0, 0]
    for _ in range(data.draw(st.integers(1, 5))):
        at = list(committed)
        log.append(batch_of(f"A{at[0] - 1},B{at[1] - 1}"))
        for _ in range(data.draw(st.integers(0, 12))):
            partition = data.draw(st.integers(0, 1))
            size = data.draw(st.integers(1, 3))
            rows = [f"{'ab'[partition]}{offset}" for offset in range(at[partition], at[partition] + size)]
            at[partition] += size
            cut = data.draw(st.integers(0, size))
            if 0 < cut < size:
                log.append(batch_of(",".join(rows[:cut])))
                rows = rows[cut:]
            log.append(batch_of(",".join([*rows, f"{'AB'[partition]}{at[partition] - 1}"])))
        committed = [data.draw(st.integers(before, end)) for before, end in zip(committed, at, strict=True)]
    applied = tuple(data.draw(st.integers(start - 1, end - 1)) for start, end in zip(committed, at, strict=True))
    found = switch(log, (applied[0], applied[1]))

    behind = {
        (int(source), int(offset))
        for batch in log[found.offset + 1 :]
        for source, offset in zip(batch.sources, batch.offsets, strict=True)
    }
    for partition in range(2):
        assert {(partition, offset) for offset in range(applied[partition] + 1, at[partition])} <= behind
