"""The seven hand-computed cases of DESIGN 3: window of 10 minutes, noon is 0, minutes are written m(..)."""

import numpy as np
import pytest

from feature_store.compute import EventColumns, features_at
from feature_store.plan import NEVER_US, NULL, ViewPlan, compile_view
from feature_store.state.view_state import ViewState
from headrace import EventStream, FeatureView, Float64, Int64, count, mean, sum
from headrace.spec.features import Closed

NOON = 1_750_000_000_000_000


def m(minutes: float) -> int:
    return NOON + round(minutes * 60_000_000)


def plan_of(closed: Closed = "left", *, delay: str = "0s") -> ViewPlan:
    stream = EventStream("e", key="k", time="at", id="id", schema={"k": Int64, "x": Float64(nullable=True)})
    aggregations = (count(), sum("x"), mean("x"))
    features = [aggregation.over("10m", delay=delay) for aggregation in aggregations]
    return compile_view(FeatureView("v", entity="k", source=stream, closed=closed, features=features))


def values(
    plan: ViewPlan,
    events: list[tuple[int, int, float | None]],
    q: int,
    arrivals: list[int] | None = None,
    own: int | None = None,
) -> list[float | None]:
    """[count, sum, mean] at ``q`` of events (time, id, value); as_served when arrivals are given."""
    steps = [NULL if value is None else round(value * 1_000_000) for _, _, value in events]
    columns = EventColumns(
        keys=np.zeros(len(events), dtype=np.int64),
        times_us=np.array([t for t, _, _ in events], dtype=np.int64),
        ids=np.array([event_id for _, event_id, _ in events], dtype=np.int64),
        inputs=np.array([steps], dtype=np.int64),
        arrival_us=None if arrivals is None else np.array(arrivals, dtype=np.int64),
    )
    row = features_at(
        plan,
        columns,
        np.zeros(1, dtype=np.int64),
        np.array([q]),
        own_ids=None if own is None else np.array([own]),
        mode="corrected" if arrivals is None else "as_served",
    )[0]
    return [None if np.isnan(value) else float(value) for value in row]


@pytest.mark.parametrize(
    ("closed", "sums"),
    [
        # q:     noon   +1 us   +10 min   +10 min 1 us
        ("left", [0.0, 5.0, 5.0, 0.0]),
        ("right", [5.0, 5.0, 0.0, 0.0]),
        ("both", [5.0, 5.0, 5.0, 0.0]),
        ("neither", [0.0, 5.0, 0.0, 0.0]),
    ],
)
def test_1_an_event_is_in_the_window_by_its_closed_ends(closed: Closed, sums: list[float]) -> None:
    plan = plan_of(closed)

    actual = [values(plan, [(m(0), 1, 5.0)], q)[1] for q in (m(0), m(0) + 1, m(10), m(10) + 1)]

    assert actual == sums


def test_2_events_of_one_instant_are_ordered_by_id_whatever_came_first() -> None:
    plan = plan_of()
    states = []
    for order in ([(m(0), 1, 5), (m(0), 2, 7)], [(m(0), 2, 7), (m(0), 1, 5)]):
        state = ViewState(plan)
        for t, event_id, value in order:
            state.apply(np.zeros(1, np.int64), np.array([t]), np.array([event_id]), np.array([[value * 1_000_000]]))
        state.advance(m(1))
        states.append(state.drain(log=False).latest)

    assert [rows.state_id.tolist() for rows in states] == [[1, 2], [1, 2]]
    assert [rows.state_inputs.tolist() for rows in states] == [[[5_000_000, 7_000_000]]] * 2
    assert [rows.values.tolist() for rows in states] == [[[2.0, 12.0, 6.0]]] * 2


def test_3_an_event_delivered_twice_counts_once() -> None:
    assert values(plan_of(), [(m(0), 1, 5.0), (m(0), 1, 5.0)], m(1)) == [1.0, 5.0, 5.0]


def test_3_an_id_that_comes_again_with_another_time_is_a_duplicate() -> None:
    assert values(plan_of(), [(m(0), 1, 5.0), (m(0.5), 1, 6.0)], m(1)) == [1.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("q", "mode", "expected"),
    [
        (m(6), "corrected", [2.0, 10.0, 5.0]),
        (m(6), "as_served", [2.0, 10.0, 5.0]),
        (m(3), "as_served", [0.0, 0.0, None]),
        (m(3), "corrected", [1.0, 9.0, 9.0]),
    ],
)
def test_4_a_late_event_is_served_from_its_arrival_and_corrected_from_its_time(
    q: int, mode: str, expected: list[float | None]
) -> None:
    events = [(m(5), 1, 1.0), (m(2), 2, 9.0)]

    assert values(plan_of(), events, q, [m(5), m(5.5)] if mode == "as_served" else None) == expected


def test_4_a_row_sees_its_own_event_even_before_its_arrival() -> None:
    events = [(m(5), 1, 1.0), (m(2), 2, 9.0)]

    assert values(plan_of("right"), events, m(2), [m(5), m(5.5)], own=2) == [1.0, 9.0, 9.0]


def test_5_an_event_from_the_future_is_not_counted_before_its_time() -> None:
    """That it is refused and leaves the watermark alone is the source task's doing."""
    assert values(plan_of(), [(m(60), 1, 5.0)], m(1)) == [0.0, 0.0, None]


def test_6_a_delayed_window_sees_an_event_after_the_delay() -> None:
    plan = plan_of(delay="5m")

    assert [values(plan, [(m(0), 1, 5.0)], q)[0] for q in (m(4), m(6))] == [0.0, 1.0]


def test_7_nulls_are_skipped() -> None:
    assert values(plan_of(), [(m(0), 1, None), (m(0), 2, None)], m(1)) == [2.0, 0.0, None]
    assert values(plan_of(), [(m(0), 1, None), (m(0), 2, 4.0)], m(1)) == [2.0, 4.0, 4.0]


def test_a_row_says_how_long_it_holds() -> None:
    """From the instant its newest event shows until the next event leaves; for ever once the window is empty."""
    state = ViewState(plan_of())
    state.apply(np.zeros(1, np.int64), np.array([m(0)]), np.array([1]), np.array([[5_000_000]]))
    state.advance(m(20))

    log = state.drain(log=True).log

    assert log is not None
    assert log.valid_from_us.tolist() == [m(0), m(0) + 1, m(10) + 1]
    assert log.valid_until_us.tolist() == [m(0) + 1, m(10) + 1, NEVER_US]
    assert log.values[:, 1].tolist() == [0.0, 5.0, 0.0]
