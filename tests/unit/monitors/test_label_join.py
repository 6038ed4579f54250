"""Cohorts of equal age: joined by id in either order, judged when whole, given up on after a grace."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.label_join import GRACE_WINDOWS, LabelJoin, Waiting

HOUR = 100
DELAY = 200


def rows(ids: list[int], units: list[int], base: int) -> Waiting:
    count = len(ids)
    return Waiting(
        ids=np.array(ids, np.int64),
        times_us=np.full(count, base * HOUR + 1, np.int64),
        units=np.array(units, np.int64),
        epochs=np.ones(count, np.int64),
        versions=np.zeros((count, 2), np.int32),
        scores=np.zeros((count, 2)),
        segments=np.zeros((count, 0), np.int8),
        labels=np.full(count, -1, np.int8),
    )


def new_join() -> LabelJoin:
    return LabelJoin(segments=0, window_us=HOUR, delay_us=DELAY)


def test_a_cohort_comes_out_when_its_youngest_label_is_due() -> None:
    join = new_join()
    join.add_predictions(rows([1, 2], [7, 8], 0))
    join.add_label(1, 1)
    join.add_label(2, 0)

    assert len(join.mature(HOUR + DELAY - 1).whole) == 0
    matured = join.mature(HOUR + DELAY)

    assert matured.whole.ids.tolist() == [1, 2]
    assert matured.whole.labels.tolist() == [1, 0]
    assert len(join.waiting) == 0


def test_a_unit_with_a_missing_label_waits_whole() -> None:
    join = new_join()
    join.add_predictions(rows([1, 2, 3], [7, 7, 8], 0))
    join.add_label(1, 1)
    join.add_label(3, 0)

    assert join.mature(HOUR + DELAY).whole.ids.tolist() == [3]
    join.add_label(2, 0)

    assert join.mature(2 * HOUR + DELAY).whole.ids.tolist() == [1, 2]


def test_after_the_grace_a_unit_is_given_up_and_its_labels_are_kept() -> None:
    join = new_join()
    join.add_predictions(rows([1, 2], [7, 7], 0))
    join.add_label(1, 1)

    matured = join.mature(HOUR + DELAY + GRACE_WINDOWS * HOUR)

    assert (len(matured.whole), matured.partial.ids.tolist(), matured.unlabelled) == (0, [1], 1)


def test_a_label_may_come_before_its_prediction() -> None:
    join = new_join()
    join.add_label(1, 1)
    join.mature(0)
    join.add_predictions(rows([1], [7], 0))

    assert join.mature(HOUR + DELAY).whole.labels.tolist() == [1]


def test_labels_far_ahead_of_their_predictions_are_kept() -> None:
    """A monitor that catches up reads all labels before it closes the first of many windows."""
    join = new_join()
    join.add_label(1, 1)
    for closing in range(20):
        join.mature(closing)
    join.add_predictions(rows([1], [7], 20))

    assert join.mature(21 * HOUR + DELAY).whole.labels.tolist() == [1]


def test_labels_nobody_waits_for_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.label_join.MAX_SPARE", 3)
    join = new_join()
    for event in (9, 8, 7, 6, 5):
        join.add_label(event, 1)
        join.mature(0)

    assert join.arrays()["spare"][:, 0].tolist() == [5, 6, 7]


def test_a_corrected_label_counts() -> None:
    join = new_join()
    join.add_predictions(rows([1], [7], 0))
    join.add_label(1, 0)
    join.add_label(1, 1)

    assert join.mature(HOUR + DELAY).whole.labels.tolist() == [1]


events = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.booleans()), max_size=20, unique_by=lambda e: e[0]
)


@given(events, st.randoms(use_true_random=False), st.integers(0, 3))
def test_nothing_is_lost_or_counted_twice_whatever_the_order_and_the_restart(
    cases: list, random: object, restart: int
) -> None:
    """Every predicted event comes out once: whole, partly labelled, or counted as unlabelled."""
    join, seen, unlabelled = new_join(), [], 0
    ids, units = [case[0] for case in cases], [case[1] for case in cases]
    join.add_predictions(rows(ids, units, 0))
    for event, _, known in cases:
        if known:
            join.add_label(event, 1)
    for closing in range(5):
        if closing == restart:
            other = new_join()
            other.restore({name: array.copy() for name, array in join.arrays().items()})
            join = other
        matured = join.mature(HOUR + DELAY + closing * HOUR)
        seen += matured.whole.ids.tolist() + matured.partial.ids.tolist()
        unlabelled += matured.unlabelled

    assert sorted(seen) == sorted(event for event, _, known in cases if known)
    assert unlabelled == sum(not known for _, _, known in cases)
