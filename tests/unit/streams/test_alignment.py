"""Partitions are read in step with arrival, and each in its own order."""

from collections.abc import Sequence

import numpy as np

from streams.alignment import Lane, release_limit_us


def lane(arrivals: Sequence[int], *, at_end: bool = False) -> Lane:
    made = Lane()
    if arrivals:
        made.add(
            [b"x"] * len(arrivals), [None] * len(arrivals), range(len(arrivals)), np.array(arrivals, dtype=np.int64)
        )
    made.at_end = at_end
    return made


def test_a_partition_waits_for_one_that_was_fetched_less_far() -> None:
    ahead, behind = lane([10, 20, 30]), lane([15])

    limit_us = release_limit_us([ahead, behind], 0, 100)

    assert ahead.release(limit_us).offsets == [0]
    assert ahead.offsets == [1, 2]


def test_a_partition_nothing_was_fetched_of_holds_everybody() -> None:
    ahead, unknown = lane([10]), lane([])

    assert len(ahead.release(release_limit_us([ahead, unknown], 5, 100))) == 0


def test_one_read_to_its_end_holds_nobody() -> None:
    ahead, done = lane([10, 20]), lane([1], at_end=True)

    assert len(ahead.release(release_limit_us([ahead, done], 0, 100))) == 2


def test_order_within_a_partition_survives_a_clock_that_went_back() -> None:
    jumping = lane([50, 10, 60])

    assert jumping.release(40).offsets == []
    assert jumping.release(50).offsets == [0, 1]
    assert jumping.release(60).offsets == [2]


def test_a_release_is_about_as_large_as_asked_for_and_stays_in_step() -> None:
    lanes = [lane(range(0, 1000, 10), at_end=True), lane(range(5, 1000, 10), at_end=True)]

    limit_us = release_limit_us(lanes, 0, 20)
    taken = [each.release(limit_us) for each in lanes]

    assert [len(part) for part in taken] == [10, 9]
    assert max(part.newest_us for part in taken) <= limit_us


def test_releases_follow_each_other_without_a_gap() -> None:
    each = lane(range(100), at_end=True)
    offsets = []
    while len(each):
        offsets.extend(each.release(release_limit_us([each], 0, 7)).offsets)

    assert offsets == list(range(100))
