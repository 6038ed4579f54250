"""Every gate lets a good candidate pass and is seen to block a bad one."""

import math

import pytest

from headrace import AtLeast, BeatsChampion, Calibration, Latency, SlicesHold
from headrace.contracts.artifacts import EvaluationReport
from headrace.spec.policies import Gate
from tests.training_cases import a_report
from trainers.gates import judge

SLICES = SlicesHold(columns=("amount",), margin=0.05, min_positives=15)
GATES: tuple[Gate, ...] = (
    AtLeast("average_precision", 0.5),
    AtLeast("log_loss", 0.03),
    BeatsChampion(metric="average_precision", margin=0.01),
    BeatsChampion(metric="log_loss"),
    SLICES,
    Calibration(max_error=0.02),
    Latency(p99_ms=10.0),
)
WORSE_SLICE = {
    **a_report().slices,
    "average_precision of amount 21 to 90": {"estimate": -0.2, "lower": -0.3, "upper": -0.1, "positives": 80.0},
}
SMALL_SLICE = {
    **a_report().slices,
    "average_precision of amount 21 to 90": {"estimate": -0.2, "lower": -0.3, "upper": -0.1, "positives": 3.0},
}


def _passes(report: EvaluationReport, gate: Gate) -> bool:
    (result,) = judge(report, [gate])
    return result.passed


def test_a_good_candidate_passes_every_gate() -> None:
    report = a_report()

    results = judge(report, GATES)

    assert [result.passed for result in results] == [True] * len(GATES)
    assert all(result.detail for result in results)


@pytest.mark.parametrize(
    ("gate", "bad"),
    [
        (GATES[0], a_report(candidate={"average_precision": 0.49})),
        (GATES[1], a_report(candidate={"log_loss": 0.031})),
        (GATES[2], a_report(difference={"average_precision": (0.05, 0.009, 0.09)})),
        (GATES[2], a_report(difference={"average_precision": (0.05, 0.01, 0.09)})),
        (GATES[3], a_report(difference={"log_loss": (-0.001, -0.003, 0.0001)})),
        (GATES[4], a_report(slices=WORSE_SLICE)),
        (GATES[5], a_report(calibration_error=0.0201)),
        (GATES[6], a_report(latency_p99_ms=10.1)),
    ],
    ids=lambda value: value.kind if hasattr(value, "kind") else "bad",
)
def test_each_gate_blocks_its_bad_candidate(gate: Gate, bad: EvaluationReport) -> None:
    assert _passes(a_report(), gate)
    assert not _passes(bad, gate)


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.kind)
def test_a_number_that_is_not_a_number_never_passes(gate: Gate) -> None:
    nan = math.nan
    report = a_report(
        candidate=dict.fromkeys(("average_precision", "log_loss"), nan),
        difference=dict.fromkeys(("average_precision", "log_loss"), (nan, nan, nan)),
        slices={name: {**numbers, "lower": nan, "upper": nan} for name, numbers in a_report().slices.items()},
        calibration_error=nan,
        latency_p99_ms=nan,
    )

    assert not _passes(report, gate)


@pytest.mark.parametrize("gate", [GATES[2], SLICES], ids=lambda gate: gate.kind)
def test_without_a_champion_relative_gates_pass_and_say_so(gate: Gate) -> None:
    first = a_report(champion=None, champion_version=None, difference={}, slices={})

    (result,) = judge(first, [gate])

    assert result.passed
    assert "no champion" in result.detail


@pytest.mark.parametrize("gate", [GATES[2], SLICES], ids=lambda gate: gate.kind)
def test_a_champion_that_cannot_be_scored_blocks(gate: Gate) -> None:
    report = a_report(champion=None, champion_version="v1", difference={}, slices={})

    assert not _passes(report, gate)


def test_a_metric_that_was_not_measured_blocks() -> None:
    assert not _passes(a_report(difference={}), BeatsChampion(metric="average_precision"))


def test_a_slice_with_too_few_positives_is_reported_and_not_judged() -> None:
    (result,) = judge(a_report(slices=SMALL_SLICE), [SLICES])

    assert result.passed
    assert "1 slices too small" in result.detail


def test_slices_that_are_all_too_small_block() -> None:
    slices = {name: {**numbers, "positives": 2.0} for name, numbers in a_report().slices.items()}

    assert not _passes(a_report(slices=slices), SLICES)


def test_slices_of_another_column_are_not_judged() -> None:
    others = {name.replace("amount", "age"): numbers for name, numbers in WORSE_SLICE.items()}
    report = a_report(slices={**a_report().slices, **others})

    assert _passes(report, SLICES)
    assert not _passes(report, SlicesHold(columns=("age",)))
