"""Sliding along a key gives the bits of walking every window, whatever the windows, nulls and ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from feature_store.compute import EventColumns, features_at
from feature_store.kernels import I64, LEAVE, Shape, begin, edge_at, put, shape_of, upper_bound
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.sliding_kernels import slide, slides
from feature_store.state.view_state import ViewState
from feature_store.window_kernels import fill_values, raise_peaks, scratch_size, sliding_of
from tests.property.view_cases import AGGREGATIONS, views

_HUGE = 2**62


@st.composite
def _numbers(draw: st.DrawFn) -> int:
    return draw(
        st.one_of(
            st.integers(-3, 3), st.just(NULL), st.integers(-_HUGE, _HUGE), st.sampled_from([NULL + 1, -(NULL + 1)])
        )
    )


def _history(plan: ViewPlan, shape: Shape, times: I64, inputs: I64) -> I64:
    history = np.zeros((len(times) + 1, shape.width), dtype=np.int64)
    begin(history, 0, shape.features, shape.folds)
    for k, t in enumerate(times.tolist()):
        put(history, k, t, k, inputs, k, shape.seen, shape.features, shape.folds)
    return history


def _places(shape: Shape, history: I64, instants: I64) -> I64:
    """Where each edge stands at each instant."""
    end = len(history) - 1
    rows = [
        [upper_bound(history, 0, end, edge_at(shape.edges, d, q)) for d in range(len(shape.edges))]
        for q in instants.tolist()
    ]
    return np.array(rows, dtype=np.int64)


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_sliding_gives_the_bits_of_walking(data: st.DataObject) -> None:
    """Sums that outgrow 64 bits, sessions that end, grids, windows of nothing, rows at one instant."""
    plan = compile_view(data.draw(views(lifetimes=False)))
    shape = shape_of(plan)
    times = np.cumsum(np.array(data.draw(st.lists(st.sampled_from([0, 0, 1, 1, 2, 5, 6, 30]), max_size=40)), np.int64))
    inputs = np.empty((len(plan.inputs), len(times)), dtype=np.int64)
    for i, entry in enumerate(plan.inputs):
        column = data.draw(st.lists(_numbers(), min_size=len(times), max_size=len(times)))
        inputs[i] = [0 if value == NULL and not entry.nullable else value for value in column]
    history = _history(plan, shape, times, inputs)
    instants = np.sort(np.array(data.draw(st.lists(st.integers(-5, 200), min_size=1, max_size=30)), np.int64))
    at = _places(shape, history, instants)
    peaks = np.zeros(len(plan.inputs), dtype=np.int64)
    raise_peaks(inputs, peaks)
    scratch = np.empty((1, scratch_size(len(times), 1)), dtype=np.int64)
    walked, slid = (np.full((len(instants), plan.width), -7.5) for _ in range(2))
    for row, q in enumerate(instants.tolist()):
        fill_values(shape.features, shape.empty, at, row, history, 0, q, peaks, scratch, walked, row)
    skipped = data.draw(st.integers(0, len(instants) - 1))
    for f in range(len(shape.features)):
        assert shape.features[f, LEAVE] >= 0
        slide(shape.features, shape.empty, f, at, skipped, len(instants) - skipped, history, instants, slid)
    assert np.array_equal(walked[skipped:].view(np.int64), slid[skipped:].view(np.int64))
    assert (slid[:skipped] == -7.5).all()


_EVENTS = hr.EventStream(
    "events",
    key="key",
    time="at",
    id="id",
    schema={
        "key": hr.Int64,
        "amount": hr.Float64(resolution=0.01, nullable=True),
        "size": hr.Int64,
        "kind": hr.String(nullable=True),
    },
)
_BOUNDED = [name for name in AGGREGATIONS if not name.startswith("approx_")]


def _hot(name: str, windows: tuple[hr.Window | str, ...], events: int, times: int = 1) -> tuple[ViewPlan, I64, I64]:
    view = hr.FeatureView("hot", entity="key", source=_EVENTS, features=AGGREGATIONS[name].over(*windows))
    plan = compile_view(view)
    rng = np.random.default_rng(7)
    inputs = rng.integers(0, 40, (len(plan.inputs), events)) * times
    inputs[plan.nullable] = np.where(rng.random((int(plan.nullable.sum()), events)) < 0.5, NULL, inputs[plan.nullable])
    return plan, np.cumsum(rng.integers(0, 3, events)), inputs


@pytest.mark.parametrize(
    ("name", "times"), [*((name, 1) for name in _BOUNDED), ("sum", 2**57), ("mean", 2**57), ("std", 2**57)]
)
def test_a_hot_key_at_once_is_logged_as_event_by_event_and_computed_so(name: str, times: int) -> None:
    """One batch fills more than one block of rows by sliding; as many batches walk each window."""
    windows = ("400us", hr.sliding("100us", hop="20us"), hr.session("1us", within="400us"))
    plan, times_us, inputs = _hot(name, windows, 4_500, times)
    ids, keys = np.arange(len(times_us)), np.zeros(len(times_us), dtype=np.int64)
    one, many = ViewState(plan), ViewState(plan)
    one.apply(keys, times_us, ids, inputs)
    one.advance(int(times_us[-1]))
    whole = one.drain(log=True)
    assert whole.log is not None
    assert len(whole.log) > 4_096
    said: dict[int, list[int]] = {}
    for e in range(len(times_us)):
        many.apply(keys[e : e + 1], times_us[e : e + 1], ids[e : e + 1], inputs[:, e : e + 1])
        many.advance(int(times_us[e]))
        part = many.drain(log=True).log
        assert part is not None
        for row, since in enumerate(part.valid_from_us.tolist()):
            said[since] = part.values[row].view(np.int64).tolist()
    rows = zip(whole.log.valid_from_us.tolist(), whole.log.values.view(np.int64).tolist(), strict=True)
    assert dict(rows) == said
    events = EventColumns(keys=keys, times_us=times_us, ids=ids, inputs=inputs)
    computed = features_at(plan, events, whole.log.keys, whole.log.valid_from_us)
    assert np.array_equal(computed.view(np.int64), whole.log.values.view(np.int64))


def test_sliding_is_compiled_only_where_a_bounded_window_may_be_walked() -> None:
    """Texts of a sketch are digests, larger than any sum may be; they are no reason."""
    for name in _BOUNDED:
        plan, _, _ = _hot(name, ("400us",), 1)
        peaks = np.full(len(plan.inputs), 40)
        walks = plan.features[0].feature.kind not in ("count", "sum", "mean", "share")
        assert sliding_of(shape_of(plan), peaks, 255) is None
        assert (sliding_of(shape_of(plan), peaks, 256) is None) != walks
    counted = [*hr.sum("size").over("400us"), *AGGREGATIONS["approx_distinct texts"].over(hr.lifetime())]
    plan = compile_view(hr.FeatureView("use", entity="key", source=_EVENTS, features=counted))
    large = np.array([2**62 if entry.name.startswith("kind") else 40 for entry in plan.inputs])
    assert sliding_of(shape_of(plan), large, 4_000) is None
    assert sliding_of(shape_of(plan), large[::-1].copy(), 4_000) is not None


@pytest.mark.parametrize("name", _BOUNDED)
def test_a_long_window_is_walked_for_few_rows_only(name: str) -> None:
    """What is not a difference of sums slides once rows are many, but for what looks at the ends of a window."""
    plan, times, inputs = _hot(name, ("4000us",), 6_000)
    shape = shape_of(plan)
    history = _history(plan, shape, times, inputs)
    at = _places(shape, history, times)
    kind = plan.features[0].feature.kind
    if kind in ("count", "sum", "mean", "share"):
        return
    looks_at_ends = kind in ("first", "last", "last_k", "since_last")
    assert slides(shape.features, 0, at, 4_000, 256, history) != looks_at_ends
    assert not slides(shape.features, 0, at, 4_000, 8, history)
