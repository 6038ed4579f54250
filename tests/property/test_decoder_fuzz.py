"""No bytes stop a decoder; ``make fuzz`` asks the same of many more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import TARGETS, check

_MADE = {name: target() for name, target in TARGETS.items()}
_INPUTS = 100


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_input_is_events_or_is_refused(name: str, seed: int) -> None:
    ends = check(_MADE[name], (seed,), _INPUTS)

    assert sum(ends.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_many_inputs_are_events_or_are_refused(name: str, seed: int) -> None:
    ends = check(_MADE[name], (seed,), _INPUTS)

    assert sum(ends.values()) > 0
