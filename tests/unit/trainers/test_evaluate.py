"""Candidate and champion are measured on the same rows, in pairs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from headrace import BeatsChampion, SlicesHold
from headrace.dataset_format import DatasetRows
from tests.training_cases import a_linear_model, make_rows
from trainers.evaluate import evaluate, paired_differences
from trainers.metrics import average_precision

GOOD = a_linear_model(np.array([0.3, 0.0, 0.06]), bias=-7.0, version="v2")
POOR = a_linear_model(np.array([0.0, 0.01, 0.0]), bias=-2.0, version="v1")
GATES = (BeatsChampion(), SlicesHold(columns=("amount", "spend__mean_eur_1d")))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> DatasetRows:
    return make_rows(Path(tmp_path_factory.mktemp("datasets")), rows=3000)


def test_a_model_beside_itself_differs_by_nothing(rows: DatasetRows) -> None:
    report = evaluate(GOOD, GOOD, rows, GATES, resamples=50)

    assert report.candidate == report.champion
    assert set(report.difference.values()) == {(0.0, 0.0, 0.0)}


def test_a_better_model_is_better_with_confidence(rows: DatasetRows) -> None:
    report = evaluate(GOOD, POOR, rows, GATES, resamples=200)
    estimate, lower, upper = report.difference["average_precision"]

    assert 0.1 < lower < estimate < upper
    assert estimate == pytest.approx(report.candidate["average_precision"] - report.champion["average_precision"])
    assert report.difference["log_loss"][2] < 0
    assert report.champion_version == "v1"


def test_the_first_model_has_nothing_to_compare_with(rows: DatasetRows) -> None:
    report = evaluate(GOOD, None, rows, GATES)

    assert report.champion is None
    assert report.champion_version is None
    assert not report.difference
    assert not report.slices
    assert 0 < report.latency_p99_ms < 1000


def test_slices_hold_every_row_once_nulls_apart(rows: DatasetRows) -> None:
    report = evaluate(GOOD, POOR, rows, GATES, resamples=20)
    by_column = {
        column: [numbers for name, numbers in report.slices.items() if f" of {column} " in name]
        for column in GATES[1].columns
    }

    assert [sum(n["rows"] for n in found) for found in by_column.values()] == [3000, 3000]
    assert sum(n["positives"] for n in by_column["amount"]) == report.positives
    assert len(by_column["amount"]) == 4
    assert any(name.endswith(" null") for name in report.slices)


def test_a_slice_of_one_value_stays_whole(rows: DatasetRows) -> None:
    constant = dataclasses.replace(rows, fields={"shop": np.full(3000, 7.0)})

    report = evaluate(GOOD, POOR, constant, [SlicesHold(columns=("shop",))], resamples=20)

    assert list(report.slices) == ["average_precision of shop 7 to 7"]


def test_a_champion_with_unknown_inputs_is_named_without_numbers(rows: DatasetRows) -> None:
    manifest = dataclasses.replace(POOR.manifest, features=("a", "b", "c"))

    report = evaluate(GOOD, dataclasses.replace(POOR, manifest=manifest), rows, GATES)

    assert report.champion_version == "v1"
    assert report.champion is None


def test_inputs_are_taken_by_name(rows: DatasetRows) -> None:
    turned = dataclasses.replace(GOOD.manifest, features=GOOD.features[::-1])
    weights = a_linear_model(np.array([0.06, 0.0, 0.3]), bias=-7.0)

    report = evaluate(dataclasses.replace(weights, manifest=turned), GOOD, rows, resamples=20)

    assert report.difference["average_precision"] == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_bounds_hold_about_as_often_as_they_say() -> None:
    """95 % one-sided bounds of a true difference of zero are on the wrong side in few of 60 worlds."""
    generator = np.random.default_rng(0)
    wrong = 0
    for world in range(60):
        labels = (generator.random(600) < 0.2).astype(int)
        ours, theirs = (labels + generator.normal(0, 1.5, 600) for _ in range(2))
        found = paired_differences({"roc_auc": 0.95}, labels, ours, theirs, resamples=120, seed=world)
        _, lower, _ = found["roc_auc"]
        wrong += lower > 0

    assert wrong <= 9  # a true 5 % exceeds this in one of a thousand runs


def test_without_positives_there_is_no_difference() -> None:
    found = paired_differences({"average_precision": 0.95}, np.zeros(10), np.arange(10.0), np.arange(10.0), resamples=5)

    assert np.isnan(found["average_precision"]).all()
    assert np.isnan(average_precision(np.zeros(10), np.arange(10.0)))
