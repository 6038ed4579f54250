"""How the event time of a silent partition goes on, and when it must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sources.silence import LIVE_WITHIN_US, time_in_silence

NOW_US = 1_790_000_000_000_000


def test_time_goes_on_as_far_behind_the_wall_clock_as_the_newest_event_was() -> None:
    newest_us, since_us = NOW_US - 3_000_000, NOW_US

    reached = [time_in_silence(newest_us, since_us, NOW_US + later) for later in (0, 1, 60_000_000)]

    assert reached == [newest_us, newest_us + 1, newest_us + 60_000_000]


@pytest.mark.parametrize("behind_us", [LIVE_WITHIN_US + 1, 2**62])
def test_the_time_of_a_replay_stands_still(behind_us: int) -> None:
    assert time_in_silence(NOW_US - behind_us, NOW_US, NOW_US + 10**9) is None


def test_an_event_ahead_of_the_wall_clock_is_not_passed_before_its_time() -> None:
    newest_us = NOW_US + 5_000_000

    assert time_in_silence(newest_us, NOW_US, NOW_US + 4_999_999) == newest_us
    assert time_in_silence(newest_us, NOW_US, NOW_US + 5_000_001) == newest_us + 1


def test_a_wall_clock_that_was_set_back_says_nothing() -> None:
    assert time_in_silence(NOW_US, NOW_US, NOW_US - 1) is None


@given(st.integers(0, LIVE_WITHIN_US), st.lists(st.integers(0, 10**12), min_size=1))
def test_it_never_goes_back_and_never_past_the_wall_clock(behind_us: int, steps: list[int]) -> None:
    newest_us, now_us, before = NOW_US - behind_us, NOW_US, NOW_US - behind_us
    for step in steps:
        now_us += step
        reached = time_in_silence(newest_us, NOW_US, now_us)
        assert reached is not None
        assert before <= reached <= now_us
        before = reached
