"""How many labels are enough, and how a young history is shared out."""

from dataclasses import replace

import pytest

from headrace.contracts.artifacts import DatasetManifest
from headrace.spec.policies import RetrainPolicy
from workflows.dataset_activities import shortage
from workflows.dataset_activities import test_span_us as span_of_test_us

DAY_US = 86_400_000_000
POLICY = RetrainPolicy(test="7d", min_rows=2_000, min_positives=30)
ENOUGH = DatasetManifest(
    dataset_id="",
    model="m",
    content_hash="",
    mode="as_served",
    start_us=0,
    end_us=1,
    as_of_us=1,
    rows=2_000,
    positives=30,
    features=(),
    definitions={},
    sources={},
)


def test_enough_is_enough() -> None:
    assert shortage(ENOUGH, ENOUGH, POLICY) == ""


@pytest.mark.parametrize("few", [{"rows": 1_999}, {"positives": 29}], ids=str)
def test_too_few_rows_or_positives_to_train_on(few: dict[str, int]) -> None:
    said = shortage(replace(ENOUGH, **few), ENOUGH, POLICY)

    assert "not enough labels" in said
    assert str(*few.values()) in said


def test_a_test_set_without_positives_judges_nothing() -> None:
    assert "no positive" in shortage(ENOUGH, replace(ENOUGH, positives=0), POLICY)


@pytest.mark.parametrize(("history", "test"), [(100, 7), (21, 7), (9, 3), (0, 0)])
def test_the_test_window_is_at_most_a_third(history: int, test: int) -> None:
    assert span_of_test_us(POLICY, history * DAY_US) == test * DAY_US
