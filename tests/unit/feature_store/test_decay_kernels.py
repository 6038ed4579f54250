"""Decay against the library's own power."""

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_store.decay_kernels import decay


@settings(deadline=None)
@given(st.integers(0, 10**15), st.integers(1, 10**13))
@example(0, 1)
@example(10**15, 1)
@example(3_600_000_000, 3_600_000_000)
def test_a_weight_halves_with_each_half_life(age_us: int, half_life_us: int) -> None:
    assert math.isclose(decay(age_us, half_life_us), 2.0 ** (-age_us / half_life_us), rel_tol=1e-14, abs_tol=1e-300)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_whole_half_lives_are_exact(count: int) -> None:
    assert decay(count * 7, 7) == 2.0**-count
