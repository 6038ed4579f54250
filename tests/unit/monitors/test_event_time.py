"""How far event time has come, from the log itself and from ticks around it."""

import json

from hypothesis import given
from hypothesis import strategies as st

from monitors.event_time import EventTime
from monitors.ticks import TickBoard

steps = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000)), max_size=40)


@given(steps)
def test_the_watermark_never_goes_back_nor_beyond_the_slowest_partition(history: list) -> None:
    time, newest, before = EventTime(range(3), disorder_us=10), {}, None
    for partition, event_us in history:
        time.observe(partition, event_us)
        newest[partition] = max(event_us, newest.get(partition, event_us))
        time.advance(idle=set())

        if len(newest) < 3:
            assert time.watermark_us is None
        else:
            assert time.watermark_us == max(min(newest.values()) - 10, before if before is not None else -10)
            before = time.watermark_us


def test_an_idle_partition_does_not_hold_the_others_back() -> None:
    time = EventTime(range(2), disorder_us=0)
    time.observe(0, 100)
    time.advance(idle=set())
    assert time.watermark_us is None

    time.advance(idle={1})

    assert time.watermark_us == 100


def test_when_all_are_idle_time_stands_still() -> None:
    time = EventTime(range(2), disorder_us=0)
    time.observe(0, 100)
    time.advance(idle={0, 1})

    assert time.watermark_us is None


def test_a_restored_clock_goes_on() -> None:
    time = EventTime([0, 1], disorder_us=5)
    time.observe(0, 100)
    time.reach(40)
    other = EventTime([0, 1], disorder_us=5)
    other.restore(json.loads(json.dumps(time.state())))
    for clock in (time, other):
        clock.observe(1, 200)
        clock.advance(idle=set())

    assert other.watermark_us == time.watermark_us == 95


def test_a_topic_has_reached_what_its_slowest_partition_has() -> None:
    board = TickBoard()
    board.note("events", 0, 100, 7)
    assert board.front("events", 2) is None
    board.note("events", 1, 90, 3)
    board.note("events", 0, 80, 9)

    front = board.front("events", 2)

    assert front is not None
    assert (front.until_us, front.offsets) == (90, {0: 10, 1: 4})


def test_a_restored_board_says_the_same() -> None:
    board, other = TickBoard(), TickBoard()
    board.note("events", 0, 100, 7)
    other.restore(json.loads(json.dumps(board.state())))

    assert other.front("events", 1) == board.front("events", 1)
    assert other.has_any("events")
    assert not other.has_any("labels")
