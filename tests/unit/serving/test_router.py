"""Routing: sticky, salted, with a share near the one asked for."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.rollout import Stage
from serving.router import on_trial, route, unit_position
from tests.unit.serving.cards import record

shares = st.floats(0.01, 0.99)
units = st.text(min_size=1, max_size=20)


@given(unit=units, low=shares, high=shares)
def test_a_unit_that_is_in_stays_in_when_the_share_grows(unit: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    canary = record(Stage.CANARY)

    was_in = route(replace(canary, share=low), unit).serves == "v2"

    assert not was_in or route(replace(canary, share=high), unit).serves == "v2"


@given(unit=units)
def test_the_same_unit_is_always_answered_by_the_same_version(unit: str) -> None:
    canary = record(Stage.CANARY)

    assert route(canary, unit) == route(replace(canary, epoch=9, at_us=5), unit)


@settings(max_examples=20)
@given(salt=st.text(max_size=8), share=shares)
def test_the_challenger_gets_about_its_share(salt: str, share: float) -> None:
    """4,000 units: five standard deviations are at most 0.04."""
    canary = record(Stage.CANARY, salt=salt, share=share)

    served = sum(route(canary, str(unit)).serves == "v2" for unit in range(4000))

    assert abs(served / 4000 - share) < 0.04


@given(salt=st.text(max_size=8), unit=units)
def test_positions_lie_in_the_half_open_unit_interval(salt: str, unit: str) -> None:
    assert 0.0 <= unit_position(salt, unit) < 1.0


def test_two_salts_choose_different_units() -> None:
    chosen = [{unit for unit in range(1000) if unit_position(salt, str(unit)) < 0.05} for salt in ("a", "b")]

    assert len(chosen[0] & chosen[1]) < 20  # 2.5 are expected by chance


@pytest.mark.parametrize(
    ("stage", "serves", "along", "understudy", "trial"),
    [
        (Stage.STEADY, "v1", (), "", ""),
        (Stage.SHADOW, "v1", ("v2",), "", "v2"),
        (Stage.PROBATION, "v2", ("v1",), "v1", "v2"),
    ],
)
def test_each_stage_names_who_answers_who_scores_along_and_who_steps_in(
    stage: Stage, serves: str, along: tuple[str, ...], understudy: str, trial: str
) -> None:
    chosen = route(record(stage), "42")

    assert (chosen.serves, chosen.along, chosen.understudy) == (serves, along, understudy)
    assert on_trial(record(stage)) == trial


def test_in_a_canary_both_arms_score_everything_and_the_champion_steps_in_for_the_challenger() -> None:
    chosen = {route(record(Stage.CANARY), str(unit)) for unit in range(100)}

    assert {(one.serves, one.along, one.understudy) for one in chosen} == {("v1", ("v2",), ""), ("v2", ("v1",), "v1")}
