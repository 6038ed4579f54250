"""Forgetting: the state that is left is the one of a stream that never had the events, then and ever after.

What a lifetime has added up of events that left the state is computed anew from the log; that is in
``tests/unit/feature_store/test_forget_lifetime.py``.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from feature_store.plan import compile_view
from feature_store.rows import RowBatch
from feature_store.state.forget import forget_events, forget_keys, held_keys
from feature_store.state.view_state import ViewState
from tests.oracle import OracleEvent
from tests.property.view_cases import as_list, batches, columns, views

Row = tuple[int, int, list[float | None]]


def _take(state: ViewState, events: list[OracleEvent], labels: list[tuple[int, int]], advance_us: int) -> RowBatch:
    """One micro-batch, and the rows that changed."""
    state.apply(*columns(state.plan, events))
    if labels:
        state.label(np.array([i for i, _ in labels]), np.array([v for _, v in labels]))
    state.advance(advance_us)
    return state.drain(log=False).latest


def _rows(batch: RowBatch) -> dict[object, Row]:
    ends = zip(batch.valid_from_us.tolist(), batch.valid_until_us.tolist(), strict=True)
    return {
        key: (start, end, as_list(values))
        for key, (start, end), values in zip(batch.keys.tolist(), ends, batch.values, strict=True)
    }


def _live(state: ViewState) -> dict[object, list[tuple[int, ...]]]:
    """Key -> its events that may still matter."""
    arrays = state.snapshot()
    owners = np.repeat(held_keys(state.plan, arrays), arrays["count"].astype(np.int64)).tolist()
    found: dict[object, list[tuple[int, ...]]] = {}
    columns_ = zip(
        arrays["event_t"].tolist(), arrays["event_id"].tolist(), *arrays["event_inputs"].tolist(), strict=True
    )
    for key, event in zip(owners, columns_, strict=True):
        if event[0] >= state.watermark_us - state.plan.retention_us:
            found.setdefault(key, []).append(event)
    return found


@settings(deadline=None)
@given(data=st.data(), view=views(lifetimes=False), gone=st.sets(st.integers(0, 25), min_size=1, max_size=12))
def test_a_state_without_events_is_the_state_that_never_had_them(
    data: st.DataObject, view: object, gone: set[int]
) -> None:
    plan = compile_view(view)  # type: ignore[arg-type]
    steps = data.draw(batches(text_keys=plan.has_text_keys, late_us=5))
    cut = data.draw(st.integers(1, len(steps)))
    state, never = ViewState(plan), ViewState(plan)
    rows: dict[object, Row] = {}
    expected: dict[object, Row] = {}
    for number, step in enumerate(steps):
        others = [event for event in step.events if event.id not in gone]
        known = [(i, value) for i, value in step.labels if i not in gone]
        before = number < cut
        rows |= _rows(
            _take(state, step.events if before else others, step.labels if before else known, step.advance_us)
        )
        expected |= _rows(_take(never, others, known, step.advance_us))
        if number != cut - 1:
            continue
        changed_us = {key: row[0] for key, row in expected.items()}
        forgotten = forget_events(plan, state.snapshot(), lambda ids: np.isin(ids, list(gone)), changed_us)
        state = ViewState.restore(plan, forgotten.arrays)
        rows |= _rows(state.drain(log=False).latest)

        assert _live(state) == _live(never)
        # Rows of keys without events are the caller's to write.
        rows = {key: row for key, row in rows.items() if key in _live(state)} | {
            key: row for key, row in expected.items() if key not in _live(state)
        }

    assert rows == expected
    assert _live(state) == _live(never)


@settings(deadline=None)
@given(data=st.data(), view=views())
def test_a_state_without_a_key_holds_all_others_as_they_were(data: st.DataObject, view: object) -> None:
    plan = compile_view(view)  # type: ignore[arg-type]
    state = ViewState(plan)
    for step in data.draw(batches(text_keys=plan.has_text_keys)):
        _take(state, step.events, step.labels, step.advance_us)
    hot = "k0" if plan.has_text_keys else 0

    def is_hot(keys: NDArray[np.generic]) -> NDArray[np.bool_]:
        return np.array([key == hot for key in keys.tolist()], dtype=np.bool_)

    arrays, count = forget_keys(plan, state.snapshot(), is_hot)

    before, after = _live(state), _live(ViewState.restore(plan, arrays))
    assert count == (hot in held_keys(plan, state.snapshot()).tolist())
    assert after == {key: events for key, events in before.items() if key != hot}
