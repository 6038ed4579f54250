"""A partition decides on lateness by itself, in offset order."""

import numpy as np

from streams.logs.keyed_log import NO_TIME_US
from streams.sources.lateness import EVENT, NOTHING, TICK, mark_late


def decide(
    messages: list[tuple[int, int, int]], lateness_us: int, newest_us: list[int]
) -> tuple[list[bool], list[int]]:
    """Late flags and newest times for messages of (kind, partition, time)."""
    kinds, partitions, times = zip(*messages, strict=True)
    newest = np.array(newest_us, dtype=np.int64)
    late = np.empty(len(messages), dtype=np.bool_)
    mark_late(
        np.array(kinds, dtype=np.uint8),
        np.array(partitions, dtype=np.int32),
        np.array(times, dtype=np.int64),
        lateness_us,
        newest,
        late,
    )
    return late.tolist(), newest.tolist()


def test_the_bound_itself_is_in_time() -> None:
    late, newest = decide([(EVENT, 0, 100), (EVENT, 0, 90), (EVENT, 0, 89)], 10, [NO_TIME_US])

    assert late == [False, False, True]
    assert newest == [100]


def test_partitions_do_not_know_of_each_other() -> None:
    late, newest = decide([(EVENT, 0, 100), (EVENT, 1, 5)], 10, [NO_TIME_US, NO_TIME_US])

    assert late == [False, False]
    assert newest == [100, 5]


def test_a_tick_moves_time_and_is_never_late() -> None:
    late, newest = decide([(TICK, 0, 100), (EVENT, 0, 80), (TICK, 0, 50)], 10, [NO_TIME_US])

    assert late == [False, True, False]
    assert newest == [100]


def test_what_was_refused_moves_nothing() -> None:
    late, newest = decide([(NOTHING, 0, 10**18), (EVENT, 0, 7)], 0, [NO_TIME_US])

    assert late == [False, False]
    assert newest == [7]


def test_going_on_from_a_commit_decides_as_if_never_stopped() -> None:
    messages = [(EVENT, n % 2, int(at)) for n, at in enumerate(np.random.default_rng(1).integers(0, 50, 40))]
    whole, newest = decide(messages, 9, [NO_TIME_US] * 2)

    first, between = decide(messages[:17], 9, [NO_TIME_US] * 2)
    second, again = decide(messages[17:], 9, between)

    assert first + second == whole
    assert again == newest
