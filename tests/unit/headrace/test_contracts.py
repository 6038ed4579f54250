"""Contracts survive the wire, and readers survive other versions of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.clock import ManualClock, format_us, parse_us
from headrace.contracts.codec import decode, encode
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.errors import IntegrityError

STEADY = RolloutRecord(model="m", epoch=1, stage=Stage.STEADY, champion="v1")


def test_a_record_round_trips_with_what_it_would_return_to() -> None:
    record = RolloutRecord(model="m", epoch=2, stage=Stage.CANARY, champion="v1", challenger="v2", previous=STEADY)

    assert decode(encode(record), RolloutRecord) == record


def test_an_older_reader_ignores_what_it_does_not_know() -> None:
    newer = encode(STEADY).replace(b'"epoch":1', b'"epoch":1,"colour":"blue"')

    assert decode(newer, RolloutRecord) == STEADY


def test_bytes_of_something_else_are_refused() -> None:
    with pytest.raises(IntegrityError, match="no RolloutRecord"):
        decode(b'{"model": 7}', RolloutRecord)


@given(st.integers(min_value=-(10**15), max_value=4 * 10**15))
def test_instants_round_trip_through_text(instant_us: int) -> None:
    assert parse_us(format_us(instant_us)) == instant_us


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_us("2018-04-01T00:00:00")


def test_a_replay_clock_never_goes_back() -> None:
    clock = ManualClock(10)
    clock.advance_to(5)

    assert clock.now_us() == 10
