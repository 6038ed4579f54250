"""Lifetimes online at an instant before all events that travel with the row."""

import numpy as np

from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.online.view_rows import NOT_FOUND, PRESENT
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from headrace import EventStream, FeatureView, Float64, Int64, count, lifetime, sum
from tests.stored_rows import stored_rows

MINUTE = 60_000_000
PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "eur": Float64(resolution=0.01)}, lateness="10m"
)
VIEW = FeatureView(
    "spend",
    entity="card",
    source=PAY,
    features=[count().over("5m"), count().over(lifetime()), sum("eur").over(lifetime())],
)


def test_what_a_lifetime_holds_is_known_before_the_newest_event_too() -> None:
    plan = compile_view(VIEW)
    state, decoder = ViewState(plan), RowDecoder(plan)
    old, new = (np.array([1]), np.array([0]), np.array([1])), (np.array([1, 2]), np.array([997, 997]), np.array([2, 3]))
    for keys, minutes, ids in (old, new):
        state.apply(keys, minutes * MINUTE, ids, np.full((len(plan.inputs), len(keys)), 1_00))
        state.advance(int(minutes.max() + 1) * MINUTE)
        rows = state.drain(log=False).latest
    stored = stored_rows(RowEncoder(plan, "shop"), rows, watermark_us=998 * MINUTE)

    before, never = decoder.decode([stored[1], stored[2]], [990 * MINUTE] * 2, [None] * 2)

    assert (before.status, list(before.values.values())) == (PRESENT, [0, 1, 1.0])
    assert before.event_time_us is not None
    assert before.event_time_us <= 990 * MINUTE
    assert (never.status, set(never.values.values())) == (NOT_FOUND, {None})
