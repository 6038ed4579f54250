"""The pause before a restart grows only while a server keeps dying soon after its start."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.local.restart import NEVER_DIED

_lives = st.lists(st.floats(min_value=0, max_value=1000), max_size=30)


@given(_lives)
def test_every_death_is_counted(lives: list[float]) -> None:
    deaths = NEVER_DIED
    for lived_s in lives:
        deaths = deaths.after(lived_s)

    assert deaths.total == len(lives)
    assert deaths.in_a_row <= deaths.total


@given(st.integers(min_value=1, max_value=30))
def test_quick_deaths_lengthen_the_pause_up_to_half_a_minute(count: int) -> None:
    deaths = NEVER_DIED
    pauses = []
    for _ in range(count):
        deaths = deaths.after(1.0)
        pauses.append(deaths.pause_s)

    assert pauses == sorted(pauses)
    assert 0 < pauses[-1] <= 30


@given(_lives)
def test_a_long_life_clears_the_record(lives: list[float]) -> None:
    deaths = NEVER_DIED
    for lived_s in lives:
        deaths = deaths.after(lived_s)

    assert not deaths.after(3600.0).is_failing
    assert deaths.after(3600.0).pause_s == NEVER_DIED.after(0.0).pause_s


def test_one_that_keeps_dying_is_failing() -> None:
    deaths = NEVER_DIED
    for _ in range(4):
        assert not deaths.is_failing
        deaths = deaths.after(1.0)

    assert deaths.is_failing
