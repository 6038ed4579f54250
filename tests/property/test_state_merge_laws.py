"""A whole state and the changes taken after it make, put together, the state itself, bit for bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from feature_store.plan import compile_view
from feature_store.state.state_merge import merge
from feature_store.state.view_state import ViewState
from headrace.errors import IntegrityError
from tests.property.view_cases import batches, columns, views

Arrays = dict[str, Any]


def assert_same(left: Arrays, right: Arrays) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        assert left[name].shape == right[name].shape, name
        assert left[name].tobytes() == right[name].tobytes(), name


def without_slots(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name != "slots"}


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_pieces_put_together_are_the_whole_state(data: st.DataObject) -> None:
    """Through growth, sweeps, labels, sessions, lifetimes, restarts, and pieces put together early."""
    plan = compile_view(data.draw(views()))
    state = ViewState(plan)
    pieces: list[Arrays] = []
    for _ in range(data.draw(st.integers(1, 4))):
        for batch in data.draw(batches(text_keys=plan.has_text_keys)):
            # The drawn times begin anew each round: what lies behind is late or forgotten.
            state.apply(*columns(plan, batch.events))
            if batch.labels and plan.label_input >= 0:
                ids, values = np.array(batch.labels, dtype=np.int64).T
                state.label(ids, values, arrived_us=batch.advance_us)
            state.advance(batch.advance_us)
            if data.draw(st.booleans()):
                state.drain(log=data.draw(st.booleans()))
            if data.draw(st.booleans()):
                pieces.append(state.take_changes())
                whole = merge(pieces)
                assert_same(without_slots(whole), state.snapshot())
                assert whole["slots"].tolist() == state.slots_held().tolist()
                action = data.draw(st.sampled_from(["go on", "go on", "put together", "restart", "whole"]))
                if action == "put together":
                    pieces = [whole]
                elif action == "restart":
                    pieces = [without_slots(whole)]
                    state = ViewState.restore(plan, without_slots(whole))
                elif action == "whole":
                    pieces = [{**state.snapshot(), "slots": state.slots_held()}]


def test_many_keys_come_grow_and_go() -> None:
    """Slots are used again for other keys, tables and the arena grow, and each piece holds what changed only."""
    rng = np.random.default_rng(4)
    plan = compile_view(_view())
    state, pieces, at_us = ViewState(plan), [], 0
    for turn in range(30):
        n = int(rng.integers(1, 3000))
        at_us += int(rng.integers(0, 40_000_000))
        keys = rng.integers(turn * 300, turn * 300 + 2000, n)
        times = at_us - rng.integers(0, 20_000_000, n)
        inputs = np.vstack([rng.integers(0, 100, n) for _ in plan.inputs])
        state.apply(keys, times, rng.integers(0, 2**60, n), inputs)
        state.advance(at_us)
        state.drain(log=False)
        if turn % 3 == 0:
            pieces.append(state.take_changes())
            assert_same(without_slots(merge(pieces)), state.snapshot())
    before = state.take_changes()
    assert len(before["slots"]) < len(state.slots_held())

    state.apply(np.array([keys[0]]), np.array([at_us]), np.array([7]), np.array([[5]] * len(plan.inputs)))
    state.drain(log=False)
    pieces += [before, state.take_changes()]

    assert len(pieces[-1]["event_t"]) <= 2, "one new event, and one at the instant of the newest before"
    assert_same(without_slots(merge(pieces)), state.snapshot())


def test_labels_that_wait_too_long_go() -> None:
    rng = np.random.default_rng(6)
    plan = compile_view(_view(labelled=True))
    state, pieces, most = ViewState(plan), [], 0
    for turn in range(40):
        state.label(rng.integers(0, 10_000, 30), rng.integers(0, 2, 30))
        state.advance(turn * 4_000_000)
        state.drain(log=False)
        if turn % 2:
            pieces.append(state.take_changes())
            most = max(most, len(pieces[-1]["pending_id"]))
            assert_same(without_slots(merge(pieces)), state.snapshot())

    assert most <= 60 < len(state.snapshot()["pending_id"]), "pieces hold new labels only"
    assert len(state.snapshot()["pending_id"]) < 40 * 30 / 2, "old ones have gone"


def test_changes_without_what_they_change_are_refused() -> None:
    plan = compile_view(_view())
    state = ViewState(plan)
    for times in ([4, 5], [6]):
        n = len(times)
        state.apply(np.full(n, 3), np.array(times), np.array(times), np.ones((1, n), dtype=np.int64))
        state.drain(log=False)
        changes = state.take_changes()

    with pytest.raises(IntegrityError, match="1 events of a state are in none of its pieces"):
        merge([changes])


def _view(*, labelled: bool = False) -> hr.FeatureView:
    stream = hr.EventStream(
        "events", key="key", time="at", id="id", schema={"key": hr.Int64, "size": hr.Int64}, lateness="20s"
    )
    if not labelled:
        return hr.FeatureView("view", entity="key", source=stream, features=hr.sum("size").over("60s"))
    labels = hr.LabelStream("labels", of=stream, value="bad", delay="9s")
    return hr.FeatureView("view", entity="key", source=stream.with_label(labels), features=hr.mean("bad").over("60s"))
