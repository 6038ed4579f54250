"""Laws of computing over a table: the oracle's values, and the very bits the live state gives."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.compute import EventColumns, evaluate, features_at
from feature_store.plan import NEVER_US, NULL, ViewPlan, compile_view
from feature_store.state.view_state import ViewState
from tests.oracle import OracleEvent, row_values
from tests.property.view_cases import as_list, batches, changes, columns, views


def once(events: list[OracleEvent]) -> list[OracleEvent]:
    """The first of each id."""
    seen: set[int] = set()
    return [event for event in events if not (event.id in seen or seen.add(event.id))]


def event_table(plan: ViewPlan, events: list[OracleEvent], **arrivals: np.ndarray) -> EventColumns:
    keys, times, ids, inputs = columns(plan, events)
    return EventColumns(keys=keys, times_us=times, ids=ids, inputs=inputs, **arrivals)


def asked(plan: ViewPlan, questions: list[tuple[int | str, int]]) -> tuple[np.ndarray, np.ndarray]:
    keys = np.array([key for key, _ in questions], dtype=object if plan.has_text_keys else np.int64)
    return keys, np.array([q for _, q in questions], dtype=np.int64)


@st.composite
def labelled_events(draw: st.DrawFn, plan: ViewPlan) -> list[OracleEvent]:
    events = [event for batch in draw(batches(text_keys=plan.has_text_keys)) for event in batch.events]
    for event in events:
        event.values["bad"] = draw(st.sampled_from([None, 0, 1]))
    return events


@st.composite
def labels_of(draw: st.DrawFn, event: OracleEvent) -> list[tuple[int, int | None]]:
    """(arrival, outcome) as they came, each correcting the one before; or one that is unknown."""
    delays = draw(st.lists(st.sampled_from([0, 0, 1, 6, 20, 50]), max_size=4))
    return [(event.t + delay, draw(st.integers(0, 1))) for delay in sorted(delays)] or [(event.t, None)]


@st.composite
def questions_about(draw: st.DrawFn, plan: ViewPlan, events: list[OracleEvent]) -> list[tuple[int | str, int]]:
    edges = sorted({moment for event in events for moment in changes(plan, event.t)} | {0})
    keys = [*sorted({event.key for event in events}), "nobody" if plan.has_text_keys else 99]
    instant = st.builds(int.__add__, st.sampled_from(edges), st.integers(-1, 1))
    return draw(st.lists(st.tuples(st.sampled_from(keys), instant), max_size=20))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_corrected_values_equal_the_oracle(data: st.DataObject) -> None:
    view = data.draw(views())
    plan = compile_view(view)
    events = data.draw(labelled_events(plan))
    questions = data.draw(questions_about(plan, events))

    actual = features_at(plan, event_table(plan, events), *asked(plan, questions))

    expected = [row_values(view, [e for e in once(events) if e.key == key], q) for key, q in questions]
    assert [as_list(row) for row in actual] == expected


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_served_values_equal_the_oracle_over_what_had_arrived(data: st.DataObject) -> None:
    """Its own event a row sees in any case, of that event's labels, as of all others', the last that had arrived."""
    view = data.draw(views())
    plan = compile_view(view)
    events = data.draw(labelled_events(plan))
    delays = st.sampled_from([0, 0, 1, 6, 50])
    arrival = {id(event): event.t + data.draw(delays) for event in events}
    told = {id(event): data.draw(labels_of(event)) for event in events}
    questions = data.draw(questions_about(plan, events))
    own_ids = [data.draw(st.integers(0, 25)) for _ in questions]
    questions += [(event.key, event.t) for event in events]
    own_ids += [event.id for event in events]
    earlier = [(row, *label) for row, event in enumerate(events) for label in told[id(event)][:-1]]
    input_arrival = np.full((len(plan.inputs), len(events)), NULL)
    if plan.label_input >= 0:
        input_arrival[plan.label_input] = [told[id(event)][-1][0] for event in events]
        for event in events:
            event.values["bad"] = told[id(event)][-1][1]

    actual = features_at(
        plan,
        event_table(
            plan,
            events,
            arrival_us=np.array([arrival[id(event)] for event in events], dtype=np.int64),
            input_arrival_us=input_arrival,
            earlier_labels=np.array(earlier, dtype=np.int64).reshape(-1, 3).T,
        ),
        *asked(plan, questions),
        own_ids=np.array(own_ids, dtype=np.int64),
        mode="as_served",
    )

    for row, (key, q), own in zip(actual, questions, own_ids, strict=True):
        visible = [e for e in once(events) if e.key == key and (arrival[id(e)] <= q or e.id == own)]
        then = [
            OracleEvent(e.key, e.t, e.id, {**e.values, "bad": ([None] + [x for at, x in told[id(e)] if at <= q])[-1]})
            for e in visible
        ]
        assert as_list(row) == row_values(view, then, q)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_the_live_state_gives_the_same_bits(data: st.DataObject) -> None:
    """Applied in batches and drained, every row equals the table computed at that row's instant."""
    view = data.draw(views())
    plan = compile_view(view)
    events = once(data.draw(labelled_events(plan)))
    state, done = ViewState(plan), 0
    while done < len(events):
        step = data.draw(st.integers(1, 4))
        state.apply(*columns(plan, events[done : done + step]))
        done += step
        rows = state.drain(log=False).latest
        now = {key: max(e.t for e in events[:done] if e.key == key) for key in rows.keys.tolist()}
        at_us = np.array([now[key] for key in rows.keys.tolist()], dtype=np.int64)
        expected = features_at(plan, event_table(plan, events[:done]), rows.keys, at_us)
        assert rows.values.tobytes() == expected.tobytes()


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_row_moved_in_time_with_its_own_event_is_what_the_stream_would_say(data: st.DataObject) -> None:
    """Whichever comes first, the question or the event; nothing is counted twice."""
    view = data.draw(views())
    plan = compile_view(view)
    events = once(data.draw(labelled_events(plan)))
    if not events:
        return
    own = data.draw(st.sampled_from(events))
    applied = data.draw(st.booleans())
    state = ViewState(plan)
    state.apply(*columns(plan, [event for event in events if applied or event is not own]))
    rows = state.drain(log=False).latest
    found = [i for i, key in enumerate(rows.keys.tolist()) if key == own.key]
    part = slice(*rows.state_start[found[0] : found[0] + 2].tolist()) if found else slice(0, 0)
    q = own.t + data.draw(st.integers(0, 40))

    actual = evaluate(
        plan,
        rows.state_t[part],
        rows.state_id[part],
        np.ascontiguousarray(rows.state_inputs[:, part]),
        q,
        (own.t, own.id, columns(plan, [own])[3][:, 0]),
    )

    mine = [event for event in events if event.key == own.key]
    edges = {moment for event in mine for moment in changes(plan, event.t)}
    assert as_list(actual.values) == row_values(view, mine, q)
    assert actual.own_event == ("applied" if applied else "merged")
    assert actual.valid_from_us == max(edge for edge in edges if edge <= q)
    assert actual.valid_until_us == min((edge for edge in edges if edge > q), default=NEVER_US)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_an_answer_does_not_depend_on_what_else_is_asked(data: st.DataObject) -> None:
    """Thousands of rows go through the kernels in blocks; few go through in one."""
    view = data.draw(views())
    plan = compile_view(view)
    events = [event for batch in data.draw(batches(text_keys=plan.has_text_keys)) for event in batch.events]
    questions = [(event.key, event.t + shift) for shift in range(1 + 1_200 // max(1, len(events))) for event in events]
    keys, at_us = asked(plan, questions)
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(len(questions))

    together = features_at(plan, event_table(plan, events), keys[order], at_us[order])

    for part in np.array_split(np.arange(len(order)), 1 + len(order) // 150):
        alone = features_at(plan, event_table(plan, events), keys[order[part]], at_us[order[part]])
        assert [as_list(row) for row in together[part]] == [as_list(row) for row in alone]
