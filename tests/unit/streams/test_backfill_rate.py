"""The rate of a backfill is that of its own work: start-up, waiting and what earlier runs did say nothing of it."""

from hypothesis import given
from hypothesis import strategies as st

from streams.backfill.rate import Rate


def test_nothing_is_told_before_there_is_a_second_of_work() -> None:
    rate = Rate(warm_rows=100)
    for rows, seconds in ((60, 20.0), (60, 20.0), (500, 0.5)):
        rate.add(rows=rows, seconds=seconds)

        assert rate.late_per_s is rate.mean_per_s is rate.left_s(10) is None

    rate.add(rows=500, seconds=0.5)
    assert rate.late_per_s is not None
    assert rate.mean_per_s == 1_000


def test_it_follows_a_change_of_pace_in_seconds_and_no_single_stretch() -> None:
    rate = Rate(warm_rows=0)
    for _ in range(600):
        rate.add(rows=100, seconds=0.1)
    rate.add(rows=100, seconds=1.0)  # a save

    left_s = rate.left_s(10_000)
    assert left_s is not None
    assert 9 < left_s < 13

    for _ in range(600):
        rate.add(rows=1_000, seconds=0.1)
    assert rate.late_per_s is not None
    assert 9_900 < rate.late_per_s <= 10_000


@given(
    start_s=st.floats(0, 100),
    stretches=st.lists(st.tuples(st.integers(1, 10**5), st.floats(0.01, 5)), min_size=1, max_size=50),
)
def test_it_lies_between_the_slowest_and_the_fastest_stretch_whatever_the_start_took(
    start_s: float, stretches: list[tuple[int, float]]
) -> None:
    rate = Rate(warm_rows=1)
    rate.add(rows=1, seconds=start_s)
    for rows, seconds in stretches:
        rate.add(rows=rows, seconds=seconds)

    speeds = [rows / seconds for rows, seconds in stretches]
    for found in (rate.late_per_s, rate.mean_per_s):
        assert found is None or min(speeds) * 0.999 <= found <= max(speeds) * 1.001
