"""The live state at sizes where memory moves: blocks grow and are packed, keys are forgotten, tables are rebuilt."""

import numpy as np
import pytest

from feature_store.compute import EventColumns, features_at
from feature_store.plan import MAX_STATE_EVENTS, NULL, ViewPlan, compile_view
from feature_store.state.view_state import ViewState
from headrace import EventStream, FeatureView, Int64, LabelStream, String, count, lifetime, mean, sum
from headrace.errors import IntegrityError

SECOND = 1_000_000


def plan_of(*, text: bool = False, window: str = "50s") -> ViewPlan:
    stream = EventStream(
        "e",
        key="k",
        time="at",
        id="id",
        schema={"k": String if text else Int64, "x": Int64(nullable=True), "y": Int64},
        lateness="5s",
    )
    labels = LabelStream("l", of=stream, value="bad", delay="10s")
    features = [count().over("3s", window), mean("x").over(window), sum("y").over(window), mean("bad").over(window)]
    return compile_view(FeatureView("v", entity="k", source=stream.with_label(labels), features=features))


def stream_of(n: int, keys: int, *, text: bool = False, seed: int = 1) -> EventColumns:
    """Disorder within the lateness, one hot key, keys that come and go with time."""
    random = np.random.default_rng(seed)
    times = np.arange(n) * SECOND // 20 + random.integers(-2 * SECOND, 2 * SECOND, n)
    numbers = np.where(random.random(n) < 0.3, 0, random.integers(1, keys, n) + np.arange(n) // 200 * keys)
    x = random.integers(-50, 50, n)
    x[random.random(n) < 0.2] = NULL
    bad = np.full(n, NULL)
    return EventColumns(
        keys=np.array([f"key {k}" for k in numbers], dtype=object) if text else numbers.astype(np.int64),
        times_us=times.astype(np.int64),
        ids=random.permutation(n).astype(np.int64) * 64,  # ids that share low bits
        inputs=np.array([x, random.integers(-9, 9, n), bad]),
    )


@pytest.mark.parametrize("text", [False, True])
def test_a_long_stream_of_short_lived_keys_stays_exact_and_small(text: bool) -> None:
    plan, events = plan_of(text=text), stream_of(20_000, 40, text=text)
    labels = np.random.default_rng(2).integers(0, 2, 20_000)
    state, batch, told = ViewState(plan), 500, 0
    sizes = []
    for start in range(0, 20_000, batch):
        rows = slice(start, start + batch)
        inputs = events.inputs[:, rows]
        state.apply(events.keys[rows], events.times_us[rows], events.ids[rows], inputs)
        told_until = max(0, start - 200)
        state.label(events.ids[told:told_until], labels[told:told_until])
        events.inputs[2, told:told_until] = labels[told:told_until]
        told = told_until
        state.advance(int(events.times_us[rows].max()) - 2 * SECOND)
        if start == 10_000:
            state = ViewState.restore(plan, state.snapshot())
        latest = state.drain(log=False).latest

        applied = EventColumns(
            keys=events.keys[: start + batch],
            times_us=events.times_us[: start + batch],
            ids=events.ids[: start + batch],
            inputs=np.ascontiguousarray(events.inputs[:, : start + batch]),
        )
        newest: dict[object, int] = {}
        for key, t in zip(applied.keys.tolist(), applied.times_us.tolist(), strict=True):
            newest[key] = max(newest.get(key, t), t)
        at_us = np.array([max(newest[key], state.watermark_us) for key in latest.keys.tolist()], dtype=np.int64)
        assert latest.values.tobytes() == features_at(plan, applied, latest.keys, at_us).tobytes()
        assert latest.has_state.all()
        sizes.append(state.nbytes)
    assert state.events == 20_000
    assert state.keys_held < 600 < 3_000 < len(set(events.keys.tolist()))
    assert max(sizes[20:]) <= 2 * max(sizes[:20])


def test_a_key_with_too_many_events_travels_without_them() -> None:
    """Its row is exact at its instant, and says that it cannot be moved."""
    plan = plan_of(window="1d")
    n = MAX_STATE_EVENTS + 1
    state = ViewState(plan)
    inputs = np.array([np.full(n, 2), np.ones(n), np.full(n, NULL)]).astype(np.int64)
    state.apply(np.zeros(n, np.int64), np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int64), inputs)
    state.apply(np.ones(1, np.int64), np.zeros(1, np.int64), np.array([n]), inputs[:, :1])

    rows = state.drain(log=False).latest

    assert rows.has_state.tolist() == [False, True]
    assert rows.state_start.tolist() == [0, 0, 1]
    assert rows.values[0].tolist()[:4] == [n - 1, n - 1, 2.0, n - 1]


def test_a_label_of_an_unknown_event_waits_for_the_lateness_and_no_longer() -> None:
    plan = plan_of()
    bad = plan.feature_names.index("mean_bad_50s")
    for wait_s, expected in ((5, 1.0), (6, np.nan)):
        state = ViewState(plan)
        state.advance(100 * SECOND)
        assert state.label(np.array([7]), np.array([1])) == 0
        state.advance((100 + wait_s) * SECOND)
        now = np.array([100 * SECOND])
        state.apply(np.zeros(1, np.int64), now, np.array([7]), np.array([[1], [1], [NULL]]))

        value = state.drain(log=False).latest.values[0, bad]

        assert value == expected or np.isnan([value, expected]).all()


def test_a_label_read_ahead_of_its_event_waits_from_its_arrival() -> None:
    plan = plan_of()
    bad = plan.feature_names.index("mean_bad_50s")
    for arrived_s, event_s, known in ((130, 135, True), (130, 136, False), (90, 106, False)):
        state = ViewState(plan)
        state.advance(100 * SECOND)
        state.label(np.array([7]), np.array([1]), arrived_us=arrived_s * SECOND)
        state.advance(event_s * SECOND)
        before = np.array([(event_s - 1) * SECOND])
        state.apply(np.zeros(1, np.int64), before, np.array([7]), np.array([[1], [1], [NULL]]))

        assert bool(state.drain(log=False).latest.values[0, bad] == 1.0) is known


@pytest.mark.parametrize(("minute", "counted"), [(3, True), (11, True), (12, True), (14, False)])
@pytest.mark.parametrize("delay", ["0s", "10m"])
def test_a_lifetime_takes_labels_as_late_as_their_delay_and_the_lateness(
    minute: int, counted: bool, delay: str
) -> None:
    """The key has an event each minute; the first one's label comes after ten, as declared, or a little later."""
    stream = EventStream("e", key="k", time="at", id="id", schema={"k": Int64}, lateness="2m")
    labels = LabelStream("l", of=stream, value="bad", delay="10m")
    features = [sum("bad").over(lifetime(), delay=delay)]
    state = ViewState(
        compile_view(FeatureView("v", entity="k", source=stream.with_label(labels), features=features, closed="right"))
    )
    key, nothing = np.zeros(1, dtype=np.int64), np.full((1, 1), NULL)
    for now in range(30):
        state.apply(key, key + now * 60 * SECOND, key + now, nothing)
        state.advance(now * 60 * SECOND)
        if now == minute:
            state.label(key, key + 1)
        rows = state.drain(log=False).latest

    assert rows.values.tolist() == [[float(counted)]]


def test_inputs_of_the_caller_are_left_alone() -> None:
    """A label that waited is put into the state, not into the batch it was given."""
    state = ViewState(plan_of())
    state.label(np.array([7]), np.array([1]))
    inputs = np.array([[1], [1], [NULL]])
    inputs.setflags(write=False)

    state.apply(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([7]), inputs)

    assert inputs.tolist() == [[1], [1], [NULL]]


def test_a_snapshot_of_another_definition_or_format_is_refused() -> None:
    snapshot = ViewState(plan_of()).snapshot()

    with pytest.raises(IntegrityError, match="is of definition"):
        ViewState.restore(plan_of(window="51s"), snapshot)
    with pytest.raises(IntegrityError, match="has format 9"):
        ViewState.restore(plan_of(), {**snapshot, "format": np.array([9])})


def test_every_held_row_is_given_again_when_asked_and_nothing_is_logged_twice() -> None:
    """A store that lost its rows gets them as they were; the log has said them already."""
    plan, events = plan_of(), stream_of(2_000, 40)
    state = ViewState(plan)
    state.apply(events.keys, events.times_us, events.ids, events.inputs)
    state.advance(int(events.times_us.max()))
    first = state.drain(log=True).latest
    held = dict(zip(first.keys.tolist(), first.values.tolist(), strict=True))

    state.touch_all()
    again = state.drain(log=True)

    assert again.log is not None
    assert len(again.log) == 0
    given = dict(zip(again.latest.keys.tolist(), again.latest.values.tolist(), strict=True))
    np.testing.assert_equal(given, {key: held[key] for key in given})
    assert len(given) == state.keys_held > 100
    assert len(state.drain(log=True).latest) == 0
