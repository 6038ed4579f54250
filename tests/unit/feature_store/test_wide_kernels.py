"""Wide whole numbers against Python's own."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feature_store.wide_kernels import add_square, add_value, float_of, float_of_signed, spread, subtract_square

_I64 = st.one_of(
    st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-9, 9), st.sampled_from([2**62, -(2**63) + 1, 2**63 - 1])
)


@settings(deadline=None)
@given(st.integers(0, 2**192 - 1), st.integers(0, 191))
def test_a_float_of_three_limbs_is_the_nearest(number: int, shift: int) -> None:
    number >>= shift
    limbs = [np.uint64(number >> place & 2**64 - 1) for place in (0, 64, 128)]

    assert float_of(*limbs) == float(number)


@settings(deadline=None)
@given(st.integers(53, 190), st.integers(-1, 1), st.integers(0, 1))
def test_ties_go_to_the_even_one(exponent: int, beside: int, odd: int) -> None:
    number = (2**53 + odd << exponent - 52) + (1 << exponent - 53) + beside
    limbs = [np.uint64(number >> place & 2**64 - 1) for place in (0, 64, 128)]

    assert float_of(*limbs) == float(number)


@settings(deadline=None)
@given(st.lists(_I64, max_size=30))
def test_sums_of_values_and_squares_are_exact(values: list[int]) -> None:
    cells = np.zeros((1, 6), dtype=np.int64)
    for value in values:
        cells[0, 0] += 1
        add_value(cells, 0, 1, value)
        add_square(cells, 0, 3, value)

    total, squares = sum(values), sum(value * value for value in values)

    assert float_of_signed(cells, 0, 1) == float(total)
    assert spread(cells, 0, 0) == float(len(values) * squares - total * total)


@settings(deadline=None)
@example([2**63 - 1] * 4 + [2**33 - 1], [2**20])
@given(st.lists(_I64, max_size=20), st.lists(_I64, max_size=20))
def test_squares_that_are_taken_back_leave_nothing(kept: list[int], taken: list[int]) -> None:
    """Carries and borrows go through all limbs; in the example one goes from the lowest to the highest."""
    cells, alone = np.zeros((1, 3), dtype=np.int64), np.zeros((1, 3), dtype=np.int64)
    for value in (*taken, *kept):
        add_square(cells, 0, 0, value)
    for value in kept:
        add_square(alone, 0, 0, value)
    for value in reversed(taken):
        subtract_square(cells, 0, 0, value)

    assert cells.tolist() == alone.tolist()
