"""Laws of the live state, each against the slow oracle and bit for bit."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.plan import NEVER_US, ViewPlan, compile_view
from feature_store.rows import RowBatch
from feature_store.state.view_state import BEGINNING_US, ViewState
from tests.oracle import OracleEvent, row_values
from tests.property.view_cases import Batch, as_list, batches, changes, columns, views


@dataclass
class Known:
    """An event as the state should know it."""

    event: OracleEvent
    since_us: int
    """The log may show it from here on."""
    labels: list[tuple[int, int | None]] = field(default_factory=list)
    """(instant the log may show it from, value), newest last."""

    def as_of(self, q: int, label: str | None) -> OracleEvent:
        values = dict(self.event.values)
        if label:
            values[label] = next((value for since, value in reversed(self.labels) if since <= q), None)
        return OracleEvent(self.event.key, self.event.t, self.event.id, values)


class Model:
    """The rules of ViewState in lists and dictionaries."""

    def __init__(self, plan: ViewPlan) -> None:
        self.plan = plan
        self.watermark_us = BEGINNING_US
        self.known: list[Known] = []
        self.waiting: dict[int, tuple[int, int]] = {}
        self.label = plan.inputs[plan.label_input].column if plan.label_input >= 0 else None
        self.duplicates = self.too_late = 0

    def live(self) -> list[Known]:
        return [known for known in self.known if known.event.t >= self.watermark_us - self.plan.retention_us]

    def apply(self, event: OracleEvent) -> None:
        floor = self.watermark_us - self.plan.lateness_us
        if event.t < self.watermark_us - self.plan.retention_us:
            self.too_late += 1
        elif any(known.event.id == event.id for known in self.live()):
            self.duplicates += 1
        else:
            known = Known(event, max(event.t, floor))
            value, at = self.waiting.get(event.id, (None, BEGINNING_US))
            if value is not None and at >= floor:
                known.labels.append((floor, value))
            self.known.append(known)

    def set_label(self, event_id: int, value: int) -> None:
        found = [known for known in self.live() if known.event.id == event_id]
        if found:
            found[0].labels.append((self.watermark_us - self.plan.lateness_us, value))
        else:
            self.waiting[event_id] = (value, self.watermark_us)

    def advance(self, watermark_us: int) -> None:
        if self.watermark_us == BEGINNING_US:
            self.waiting = {key: (value, watermark_us) for key, (value, _) in self.waiting.items()}
        self.watermark_us = max(self.watermark_us, watermark_us)

    def horizon(self, key: int | str) -> int:
        return max(self.watermark_us, *(known.event.t for known in self.known if known.event.key == key))

    def expected(self, key: int | str, q: int, as_of: int = NEVER_US, now: int | None = None) -> list[float | None]:
        events = [k.as_of(as_of, self.label) for k in self.known if k.event.key == key and k.since_us <= as_of]
        return row_values(self.plan.view, events, q, now=now)


def feed(state: ViewState, model: Model, batch: Batch) -> None:
    before = model.duplicates, model.too_late
    for event in batch.events:
        model.apply(event)
    applied = state.apply(*columns(state.plan, batch.events))
    assert (applied.duplicates, len(applied.too_late)) == (
        model.duplicates - before[0],
        model.too_late - before[1],
    )
    if model.label:
        for event_id, value in batch.labels:
            model.set_label(event_id, value)
        ids, values = (
            (np.array(list(column), dtype=np.int64) for column in zip(*batch.labels, strict=True))
            if (batch.labels)
            else (np.empty(0, np.int64), np.empty(0, np.int64))
        )
        state.label(ids, values)
    model.advance(batch.advance_us)
    state.advance(batch.advance_us)


def check_latest(model: Model, rows: RowBatch) -> None:
    plan = model.plan
    for i, key in enumerate(rows.keys.tolist()):
        horizon = model.horizon(key)
        since = int(rows.valid_from_us[i])
        assert as_list(rows.values[i]) == model.expected(key, horizon, now=since)
        assert rows.valid_from_us[i] <= horizon < rows.valid_until_us[i]
        earliest = max(int(rows.valid_from_us[i]), model.watermark_us - plan.lateness_us)
        for q in (earliest, min(int(rows.valid_until_us[i]) - 1, horizon + 10_000)):
            assert as_list(rows.values[i]) == model.expected(key, q, now=since)
        live = sorted(
            (known.as_of(NEVER_US, model.label) for known in model.live() if known.event.key == key),
            key=lambda event: (event.t, event.id),
        )
        part = slice(int(rows.state_start[i]), int(rows.state_start[i + 1]))
        assert rows.has_state[i]
        assert rows.state_t[part].tolist() == [event.t for event in live]
        assert rows.state_id[part].tolist() == [event.id for event in live]
        assert rows.state_inputs[:, part].tolist() == columns(plan, live)[3].tolist()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_latest_rows_equal_the_oracle_and_no_row_is_left_expired(data: st.DataObject) -> None:
    """Whatever the order of calls: what was drained last for a key is its value until ``valid_until``."""
    view = data.draw(views())
    plan = compile_view(view)
    state, model = ViewState(plan), Model(plan)
    stored: dict[int | str, tuple[list[float | None], int, int]] = {}
    for batch in data.draw(batches(text_keys=plan.has_text_keys)):
        feed(state, model, batch)
        if data.draw(st.booleans()):
            state = ViewState.restore(plan, state.snapshot())
        if not data.draw(st.sampled_from([True, True, False])):
            continue
        rows = state.drain(log=data.draw(st.booleans())).latest
        check_latest(model, rows)
        for i, key in enumerate(rows.keys.tolist()):
            stored[key] = (as_list(rows.values[i]), int(rows.valid_from_us[i]), int(rows.valid_until_us[i]))
        for key, (values, since, until) in stored.items():
            assert until > model.watermark_us
            assert values == model.expected(key, model.horizon(key), now=since)
        assert set(stored) == {known.event.key for known in model.known}


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_the_log_is_the_oracle_as_a_step_function(data: st.DataObject) -> None:
    """At any instant the row with the newest valid_from, as said last, is right.

    Something that came later than the lateness allows shows from ``watermark - lateness`` on.
    """
    view = data.draw(views())
    plan = compile_view(view)
    state, model = ViewState(plan), Model(plan)
    steps: dict[int | str, dict[int, tuple[list[float | None], int]]] = {}
    latest: dict[int | str, int] = {}
    for batch in data.draw(batches(text_keys=plan.has_text_keys)):
        feed(state, model, batch)
        if data.draw(st.booleans()):
            state = ViewState.restore(plan, state.snapshot())
        drained = state.drain(log=True)
        log = drained.log
        assert log is not None
        for i, key in enumerate(log.keys.tolist()):
            said = (as_list(log.values[i]), int(log.valid_until_us[i]))
            steps.setdefault(key, {})[int(log.valid_from_us[i])] = said
        latest.update(zip(drained.latest.keys.tolist(), drained.latest.valid_from_us.tolist(), strict=True))
    for key, rows in steps.items():
        mine = [known for known in model.known if known.event.key == key]
        moments = {moment for known in mine for moment in changes(plan, known.event.t)}
        edges = {moment + near for moment in moments for near in (-1, 0, 1)}
        for q in edges | {known.since_us for known in mine}:
            if q > model.horizon(key):
                continue
            said = [valid_from for valid_from in rows if valid_from <= q]
            assert bool(said) == any(known.since_us <= q for known in mine)
            if said:
                assert rows[max(said)][0] == model.expected(key, q, as_of=q, now=max(said))
        last = max(rows)
        assert latest[key] == last
        following = [moment for moment in moments if moment > model.horizon(key)]
        assert rows[last][1] == min(following, default=NEVER_US)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_batch_borders_do_not_matter(data: st.DataObject) -> None:
    """One event at a time or all at once, with the same watermarks, ends in the same rows."""
    view = data.draw(views())
    plan = compile_view(view)
    whole, single = ViewState(plan), ViewState(plan)
    for batch in data.draw(batches(text_keys=plan.has_text_keys)):
        whole.apply(*columns(plan, batch.events))
        for event in batch.events:
            single.apply(*columns(plan, [event]))
            if data.draw(st.booleans()):
                single.drain(log=False)
        for state in (whole, single):
            state.advance(batch.advance_us)
        rows, others = whole.drain(log=False).latest, single.drain(log=False).latest
        expected = _by_key(rows)
        assert {key: row for key, row in _by_key(others).items() if key in expected} == {
            key: expected[key] for key in _by_key(others)
        }


def _by_key(rows: RowBatch) -> dict[int | str, tuple[object, ...]]:
    return {
        key: (as_list(rows.values[i]), int(rows.valid_from_us[i]), int(rows.valid_until_us[i]))
        for i, key in enumerate(rows.keys.tolist())
    }
