"""A read answers what the slow oracle computes, at any instant and whichever comes first, the event or the stream."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.online.view_rows import NOT_FOUND, PRESENT, STALE
from feature_store.own_event import OwnEvent
from feature_store.plan import compile_view
from feature_store.row_values import Value
from feature_store.state.view_state import ViewState
from headrace import FeatureView
from tests.oracle import OracleEvent, row_values
from tests.property.view_cases import batches, columns, views
from tests.stored_rows import stored_rows


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_read_equals_the_oracle_at_any_instant_with_or_without_an_own_event(data: st.DataObject) -> None:
    view = data.draw(views())
    plan = compile_view(view)
    label = plan.inputs[plan.label_input].column if plan.label_input >= 0 else None
    state, encoder, decoder = ViewState(plan), RowEncoder(plan, "p"), RowDecoder(plan)
    redis: dict[int | str, bytes] = {}
    events: dict[int, OracleEvent] = {}
    for version, batch in enumerate(data.draw(batches(text_keys=plan.has_text_keys, late_us=5))):
        floor = state.watermark_us - plan.lateness_us
        fresh = [event for event in reversed(batch.events) if event.id not in events and event.t >= floor]
        unique = list({event.id: event for event in fresh}.values())
        events.update({event.id: event for event in unique})
        state.apply(*columns(plan, unique))
        if label:
            known = [(event_id, value) for event_id, value in batch.labels if event_id in events]
            for event_id, value in known:
                events[event_id].values[label] = value
            state.label(np.array([i for i, _ in known], np.int64), np.array([v for _, v in known], np.int64))
        state.advance(batch.advance_us)
        rows = state.drain(log=False).latest
        redis.update(stored_rows(encoder, rows, version=version, watermark_us=state.watermark_us))

    name = data.draw(st.sampled_from(["k0", "k1", "k3"] if plan.has_text_keys else [0, 1, 3]))
    q = data.draw(st.integers(-20, 400))
    of_key = [event for event in events.values() if event.key == name]
    own, applied = None, False
    if data.draw(st.booleans()):
        amount, size = data.draw(st.sampled_from([None, 7, -2])), data.draw(st.integers(-3, 9))
        event = OracleEvent(name, q, 99, {"amount": amount, "size": size, "kind": "a", "bad": None})
        applied = bool(of_key) and data.draw(st.booleans())
        if applied:
            event = data.draw(st.sampled_from(of_key))
            amount, size = event.values["amount"], event.values["size"]
        else:
            of_key.append(event)
        fields = {"amount": None if amount is None else amount / 100, "size": size, "kind": event.values["kind"]}
        own = OwnEvent(id=event.id, time_us=event.t, fields=fields)

    (row,) = decoder.decode([redis.get(name)], [q], [own])

    if row.status == STALE:
        assert q < (row.watermark_us or 0) - plan.lateness_us
    elif row.status == NOT_FOUND:
        # What has left every window for longer than the lateness is forgotten.
        assert all(event.t > q or event.t < state.watermark_us - plan.retention_us for event in of_key)
    else:
        assert row.status == PRESENT
        actual = as_cells(view, list(row.values.values()))
        assert actual == row_values(view, of_key, q)
        assert row.event_time_us is not None
        assert row.valid_until_us is not None
        assert row.event_time_us <= q < row.valid_until_us
        if own and not applied:
            assert row.own_event == "merged"
        for instant in (row.event_time_us, min(row.valid_until_us - 1, q + 10_000)):
            if own is None and instant >= (row.watermark_us or 0) - plan.lateness_us:
                assert row_values(view, of_key, instant, now=q) == actual, "the row holds all the time it says"


def as_cells(view: FeatureView, values: list[Value]) -> list[float | None]:
    """Values as the oracle writes them: lists filled up with None."""
    cells: list[float | None] = []
    for feature, value in zip(view.features, values, strict=True):
        items = value if isinstance(value, list) else [value]
        cells += [None if item is None else float(item) for item in items] + [None] * (feature.width - len(items))
    return cells
