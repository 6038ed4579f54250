"""Cases of the peers' own tests, restated as tables: every engine says what the table says.

Where we mean to differ, the row holds both values and the reason.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headrace
from feature_store.compute import compute_file, features_at
from feature_store.event_columns import event_columns
from feature_store.offline_tables import ARRIVAL, LABEL_ARRIVAL
from feature_store.plan import compile_view
from feature_store.training.training_rows import training_rows
from headrace import FeatureView, LabelStream, Model, Project, mean
from tests.contract.peer_cases import (
    chronon_joins,
    chronon_rows,
    chronon_windows,
    edge_cases,
    feast_joins,
    fennel_windows,
    label_cases,
    other_edges,
)
from tests.contract.peer_cases.case import EVENTS, Ask, Case, us
from tests.contract.peer_cases.label_cases import LabelRow
from tests.every_engine import ask

_TABLES = (
    edge_cases,
    chronon_windows,
    chronon_rows,
    chronon_joins,
    feast_joins,
    fennel_windows,
    other_edges,
)
_CASES = [case for table in _TABLES for case in table.CASES]
_ROWS = [
    pytest.param(case, question, id=f"{case.name}, {number}: {question.at}")
    for case in _CASES
    for number, question in enumerate(case.asks)
]


@pytest.mark.parametrize(("case", "question"), _ROWS)
def test_every_engine_answers_as_the_table_says(case: Case, question: Ask) -> None:
    answer = ask(case.view, case.events, us(question.at), key=question.key, mode=question.mode)

    assert {name: answer.values[name] for name in question.says} == question.says
    assert answer.status == question.status


def test_a_difference_from_a_peer_is_one_and_has_a_reason() -> None:
    for question in (question for case in _CASES for question in case.asks):
        differs = [name for name, value in question.peer.items() if question.says[name] != value]
        assert differs == list(question.peer)
        assert question.peer_status != question.status
        assert bool(question.why) == bool(question.peer or question.peer_status)
    for row in label_cases.ROWS:
        assert row.peer in (None, not row.joined)
        assert bool(row.why) == (row.peer is not None)


def test_what_a_table_says_we_do_not_have_we_do_not_have() -> None:
    words = [word for table in (chronon_windows, chronon_rows, fennel_windows) for word, _ in table.NOT_EXPRESSED]

    assert [word for word in words if hasattr(headrace, word)] == []


def test_a_row_asked_twice_is_answered_twice() -> None:
    """Feast's Dask store makes one row of two training rows with the same key and instant (its issue 6787)."""
    plan = compile_view(edge_cases.CASES[0].view)
    table = _events(["12:00"])
    at = np.full(2, us("12:01"))

    values = features_at(plan, event_columns(plan, table), np.array([1, 1]), at)

    assert values.tolist() == [[0.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("row", label_cases.ROWS, ids=lambda row: f"{row.event} as of {row.as_of} {row.mode}")
def test_an_outcome_is_joined_as_the_table_says(row: LabelRow) -> None:
    outcomes = LabelStream("outcomes", of=EVENTS, value="bad", delay=row.delay)
    model = Model("model", features=["n"], label=outcomes)
    table = _events([row.event], told=[row.told])

    rows = training_rows(
        model, table, start_us=us(row.event), end_us=us(row.event) + 1, as_of_us=us(row.as_of), mode=row.mode
    )

    assert rows.num_rows == row.joined


def test_no_row_sees_an_outcome_before_it_was_known() -> None:
    """The outcome of 12:00 is known at 12:20: a microsecond before there is none, in file and training set."""
    outcomes = LabelStream("outcomes", of=EVENTS, value="bad", delay="20m")
    view = FeatureView(
        "risk", entity="key", source=EVENTS.with_label(outcomes), features=[mean("bad").over("1h")], closed="right"
    )
    model = Model("model", features=[view], label=outcomes)
    ats = ["12:00", "12:19:59.999999", "12:20", "12:30"]
    told = ["12:20", "13:00", "13:00", "13:00"]
    table = _events(ats, told=told)
    known = [None, None, 1.0, 1.0]

    project = Project(
        name="cases", path=Path(), streams=(EVENTS,), labels=(outcomes,), views=(view,), requests=(), models=(model,)
    )
    span = {"start_us": us("12:00"), "end_us": us("12:31"), "as_of_us": us("14:00")}

    assert compute_file(project, EVENTS, table)["risk__mean_bad_1h"].to_pylist() == known
    assert training_rows(model, table, **span)["risk__mean_bad_1h"].to_pylist() == known
    assert training_rows(model, table, mode="corrected", **span)["risk__mean_bad_1h"].to_pylist() == known


def _events(ats: list[str], told: list[str] | None = None) -> pa.Table:
    """Events of key 1, all with an outcome of 1."""
    times = pa.array([us(at) for at in ats], pa.int64())
    n = len(ats)
    columns = {
        "id": pa.array(range(n), pa.int64()),
        "key": pa.array([1] * n, pa.int64()),
        "at": times.cast(pa.timestamp("us", tz="UTC")),
        "x": pa.nulls(n, pa.float64()),
        "n": pa.array([1] * n, pa.int64()),
        "text": pa.nulls(n, pa.string()),
        "good": pa.nulls(n, pa.bool_()),
        ARRIVAL: times,
    }
    if told is not None:
        columns["bad"] = pa.array([1] * n, pa.int64())
        columns[LABEL_ARRIVAL] = pa.array([us(at) for at in told], pa.int64())
    return pa.table(columns)
