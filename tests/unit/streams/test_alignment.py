"""Partitions are read in step with arrival, and each in its own order."""

from collections.abc import Sequence

from streams.messages.alignment import Lane, release_limit_us
from streams.messages.message_runs import MessageRun
from tests.message_runs import message_run


def lane(arrivals: Sequence[int], *, at_end: bool = False) -> Lane:
    """One partition, fetched three messages at a time."""
    made = Lane()
    for first in range(0, len(arrivals), 3):
        made.add(message_run("events", 0, first, arrivals[first : first + 3]))
    made.at_end = at_end
    return made


def offsets(runs: Sequence[MessageRun]) -> list[int]:
    return [offset for run in runs for offset in run.offsets.tolist()]


def rows(runs: Sequence[MessageRun]) -> int:
    return sum(map(len, runs))


def test_a_partition_waits_for_one_that_was_fetched_less_far() -> None:
    ahead, behind = lane([10, 20, 30]), lane([15])

    limit_us = release_limit_us([ahead, behind], 0, 100)

    assert offsets(ahead.release(limit_us)) == [0]
    assert len(ahead) == 2
    assert offsets(ahead.release(30)) == [1, 2]


def test_a_partition_nothing_was_fetched_of_holds_everybody() -> None:
    ahead, unknown = lane([10]), lane([])

    assert rows(ahead.release(release_limit_us([ahead, unknown], 5, 100))) == 0


def test_one_read_to_its_end_holds_nobody() -> None:
    ahead, done = lane([10, 20]), lane([1], at_end=True)

    assert rows(ahead.release(release_limit_us([ahead, done], 0, 100))) == 2


def test_order_within_a_partition_survives_a_clock_that_went_back() -> None:
    jumping = lane([50, 10, 60])

    assert offsets(jumping.release(40)) == []
    assert offsets(jumping.release(50)) == [0, 1]
    assert offsets(jumping.release(60)) == [2]


def test_a_release_is_about_as_large_as_asked_for_and_stays_in_step() -> None:
    lanes = [lane(range(0, 1000, 10), at_end=True), lane(range(5, 1000, 10), at_end=True)]

    limit_us = release_limit_us(lanes, 0, 20)
    taken = [each.release(limit_us) for each in lanes]

    assert list(map(rows, taken)) == [10, 9]
    assert max(each.released_us for each in lanes) <= limit_us


def test_releases_follow_each_other_without_a_gap() -> None:
    each = lane(range(100), at_end=True)
    taken: list[MessageRun] = []
    while len(each):
        taken.extend(each.release(release_limit_us([each], 0, 7)))

    assert offsets(taken) == list(range(100))
    assert [run.values[0] for run in taken] == [b"%d" % run.offsets[0] for run in taken]


def test_an_end_alone_changes_nothing_but_the_end() -> None:
    each = lane([10, 20])
    before = (len(each), each.newest_us, each.end_offset, each.bytes)

    each.add(message_run("events", 0, 2, [], at_end=True))

    assert each.at_end
    assert (len(each), each.newest_us, each.end_offset, each.bytes) == before


def test_what_was_released_takes_no_room() -> None:
    each = lane(range(100), at_end=True)

    each.release(50)
    half = each.bytes
    each.release(1_000)

    assert (half, each.bytes) == (2 * 49, 0)
