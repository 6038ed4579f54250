"""One model over views of two streams, one of them with a list, and features derived from both: the same everywhere.

visits of a user    v1      v2              v3
orders of a user        o1      o2   o3         o4      each order is scored
"""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_store.event_columns import event_columns
from feature_store.online.lookup_wire import LookupWire
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.own_event import OwnEvent
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from feature_store.training.training_rows import training_rows
from headrace import (
    DerivedFeatures,
    EventStream,
    FeatureView,
    Float64,
    Int64,
    LabelStream,
    Model,
    Project,
    RequestFeatures,
    String,
    count,
    last_k,
    mean,
    since_last,
)
from headrace.errors import ConfigError, DefinitionError
from headrace.spec.project import definitions_of
from serving.event_lookup import lookup_request
from serving.feature_matrix import FeatureMatrix
from serving.request_event import RequestEvent
from tests.stored_rows import stored_rows

HOUR = 3_600_000_000
START = 500_000 * HOUR

VISITS = EventStream("visits", key="user", time="at", id="visit", schema={"user": Int64, "pages": Int64})
ORDERS = EventStream("orders", key="user", time="at", id="order", schema={"user": Int64, "eur": Float64})
RETURNED = LabelStream("returned", of=ORDERS, value="back", delay="1h")
BROWSING = FeatureView(
    "browsing",
    entity="user",
    source=VISITS,
    features=[count().over("1d"), last_k("pages", 2).over("1d"), since_last().over("1d")],
)
SPENDING = FeatureView("spending", entity="user", source=ORDERS, closed="right", features=[mean("eur").over("1d")])
CLOCK = RequestFeatures("clock", of=ORDERS, fn=lambda order: {"odd": order["at"] // HOUR % 2})


def mixture(known: Any) -> dict[str, Any]:
    pages = known["browsing__last_2_pages_1d"]
    return {
        "fewer_pages": pages[:, 0] < pages[:, 1],
        "eur_per_visit": known["spending__mean_eur_1d"] / known["browsing__count_1d"],
        "odd_spend": known["clock__odd"] * known["spending__mean_eur_1d"],
    }


MIXED = DerivedFeatures("mixed", of=(BROWSING, SPENDING, CLOCK), fn=mixture)
MODEL = Model("return", features=[SPENDING, MIXED, "eur"], label=RETURNED)

VISITED = [(1, 7, 0.5, 4), (2, 7, 2.5, 2), (3, 7, 6.25, 9), (4, 8, 1.0, 1)]
"""(id, user, hour, pages)."""
ORDERED = [(11, 7, 1, 10.0), (12, 7, 3, 20.0), (13, 7, 4, 60.0), (14, 7, 7, 6.0), (15, 8, 5, 5.0)]
"""(id, user, hour, eur)."""
EXPECTED = {
    11: [10.0, 0.0, 10.0, 10.0, 10.0],
    12: [15.0, 1.0, 7.5, 15.0, 20.0],
    13: [30.0, 1.0, 15.0, 0.0, 60.0],
    14: [24.0, 0.0, 8.0, 24.0, 6.0],
    15: [5.0, 0.0, 5.0, 5.0, 5.0],
}
"""Order -> mean so far, fewer pages at the newest visit than before, mean per visit, mean in odd hours, own amount."""


def test_its_inputs_are_the_views_and_what_is_derived() -> None:
    assert MODEL.feature_names == (
        "spending__mean_eur_1d",
        "mixed__fewer_pages",
        "mixed__eur_per_visit",
        "mixed__odd_spend",
        "eur",
    )
    assert [view.name for view in MODEL.views] == ["spending", "browsing"]
    assert [stream.name for stream in MODEL.streams] == ["orders", "visits"]
    assert set(definitions_of(MODEL)) == {"spending", "browsing", "clock", "mixed"}


def test_a_training_set_sees_each_stream_as_of_the_scored_event() -> None:
    rows = training_rows(MODEL, orders_table(), start_us=0, end_us=START + 99 * HOUR, as_of_us=START + 99 * HOUR,
                         mode="corrected", others=[visits_table()])  # fmt: skip

    found = {row["order"]: [row[name] for name in MODEL.feature_names] for row in rows.to_pylist()}
    assert found == EXPECTED


def test_other_streams_need_no_ids() -> None:
    """Their events are counted where they stand; only those that are scored have to be found again."""
    clicks = dataclasses.replace(VISITS, id=None)
    browsing = dataclasses.replace(BROWSING, source=clicks)
    mixed = dataclasses.replace(MIXED, of=(browsing, SPENDING, CLOCK))
    model = dataclasses.replace(MODEL, features=(SPENDING, mixed, "eur"))
    visits = visits_table().rename_columns({"visit": "_id"})

    rows = training_rows(model, orders_table(), start_us=0, end_us=START + 99 * HOUR, as_of_us=START + 99 * HOUR,
                         mode="corrected", others=[visits])  # fmt: skip

    assert {row["order"]: [row[name] for name in MODEL.feature_names] for row in rows.to_pylist()} == EXPECTED
    project = Project(name="p", path=Path(), streams=(clicks, ORDERS), labels=(), views=model.views, requests=(),
                      models=(model,))  # fmt: skip
    request = lookup_request(model, RequestEvent(11, START, {"order": 11, "user": 7, "eur": 1.0}))
    (rows,) = LookupWire(project).decode([request], [[None] * 4])
    assert {name: row.own_event for name, row in rows.items()} == {"spending": "merged", "browsing": ""}


def test_serving_puts_the_same_inputs_together() -> None:
    matrix = FeatureMatrix(MODEL)
    states = {view: ViewState(compile_view(view)) for view in MODEL.views}
    table = {VISITS: VISITED, ORDERS: ORDERED}
    for number, user, hour, eur in ORDERED:
        for view, state in states.items():
            at = START + round(hour * HOUR)
            rows = [row for row in table[view.events] if START + round(row[2] * HOUR) < at]
            scale = 1_000_000 if view is SPENDING else 1
            state.apply(
                np.array([row[1] for row in rows]),
                np.array([START + round(row[2] * HOUR) for row in rows]),
                np.array([row[0] for row in rows]),
                np.array([[round(row[3] * scale) for row in rows]]),
            )
        event = RequestEvent(number, at, {"order": number, "user": user, "eur": eur})
        request = lookup_request(MODEL, event)
        found = {view.name: read(view, states[view], user, request.at_us, request.own) for view in MODEL.views}

        assert matrix.fill([event], [found])[0].tolist() == EXPECTED[number]


@pytest.mark.parametrize("mode", ["as_served", "corrected"])
def test_a_key_without_visits_and_one_whose_visits_are_too_old_are_null_as_a_read_says(mode: Any) -> None:
    """User 9 never came, user 8 two hours and more before; an hour is what the view promises."""
    fresh = dataclasses.replace(BROWSING, features=count().over("1d"), ttl="1h")
    model = dataclasses.replace(MODEL, features=(fresh,))
    orders = pa.table({"order": [21, 22, 23], "user": [7, 8, 9], "at": [START + 3 * HOUR] * 3, "eur": [1.0] * 3,
                       "back": [0, 1, 0]})  # fmt: skip
    visits = visits_table().append_column("_arrival", visits_table()["at"])

    rows = training_rows(model, orders, start_us=0, end_us=START + 99 * HOUR, as_of_us=START + 99 * HOUR, mode=mode,
                         others=[visits])  # fmt: skip

    assert rows["browsing__count_1d"].to_pylist() == [2.0, None, None]
    state = ViewState(compile_view(fresh))
    columns = event_columns(state.plan, visits)
    state.apply(columns.keys, columns.times_us, columns.ids, columns.inputs)
    found = [read(fresh, state, user, START + 3 * HOUR, None) for user in (7, 8, 9)]
    assert [row.status for row in found] == ["PRESENT", "EXPIRED", "NOT_FOUND"]
    assert [row.values["count_1d"] for row in found] == [2, None, None]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DefinitionError, match="has lists"):
        Model("m", features=[BROWSING], label=RETURNED)
    other = EventStream("others", key="who", time="at", id="i", schema={"who": String})
    away = FeatureView("away", entity="who", source=other, features=[count().over("1d")])
    with pytest.raises(DefinitionError, match="keyed by 'who'"):
        Model("m", features=[away], label=RETURNED)
    with pytest.raises(DefinitionError, match="fn fails"):
        DerivedFeatures("d", of=(SPENDING,), fn=lambda known: {"x": known["nowhere"]})
    short = DerivedFeatures("d", of=(SPENDING,), fn=lambda known: {"x": known["spending__mean_eur_1d"][:1]})
    with pytest.raises(ConfigError, match="'d' fail"):
        training_rows(
            dataclasses.replace(MODEL, features=(short,)), orders_table(), start_us=0, end_us=START + 99 * HOUR,
            as_of_us=START + 99 * HOUR, mode="corrected",
        )  # fmt: skip


def read(view: FeatureView, state: ViewState, user: int, at_us: int | None, own: OwnEvent | None) -> Any:
    """A row as a lookup gives it: drained, encoded, decoded."""
    plan = state.plan
    rows, encoder = state.drain(log=False).latest, RowEncoder(plan, "p")
    stored = memory.setdefault(view.name, {})
    stored.update(stored_rows(encoder, rows, watermark_us=state.watermark_us))
    asked = own if view.events is ORDERS else None
    (row,) = RowDecoder(plan).decode([stored.get(user)], [at_us], [asked])
    return SimpleNamespace(**{name: getattr(row, name) for name in ("status", "values", "version", "own_event")})


memory: dict[str, dict[int | str, bytes]] = {}


@pytest.fixture(autouse=True)
def _forget() -> None:
    memory.clear()


def visits_table() -> pa.Table:
    ids, users, hours, pages = zip(*VISITED, strict=True)
    return pa.table({"visit": ids, "user": users, "at": [START + round(h * HOUR) for h in hours], "pages": pages})


def orders_table() -> pa.Table:
    ids, users, hours, eur = zip(*ORDERED, strict=True)
    times = [START + round(h * HOUR) for h in hours]
    return pa.table({"order": ids, "user": users, "at": times, "eur": eur, "back": [0, 1, 0, 1, 0]})


def test_the_project_folder_of_such_a_model_collects_all_of_it(tmp_path: Path) -> None:
    from headrace import load_project

    (tmp_path / "shop.py").write_text(
        "from tests.unit.feature_store.test_sources_and_derived import MODEL\nmodel = MODEL\n"
    )

    project = load_project(tmp_path)

    assert {stream.name for stream in project.streams} == {"orders", "visits"}
    assert [derived.name for derived in project.derived] == ["mixed"]
