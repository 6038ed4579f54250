"""What a lifetime has added up is computed anew without what goes; its events are long out of the state.

payments of shop 1   ──●──○──●──●──────────●──○──►  now        ○ of the erased card
                     summed up, gone from state │ retained
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from feature_store.compute import features_at
from feature_store.event_columns import event_columns
from feature_store.plan import compile_view
from feature_store.state.forget import forget_events
from feature_store.state.view_state import ViewState
from feature_store.upkeep.erase_influence import Influence
from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    approx_distinct,
    approx_quantile,
    approx_top_k,
    count,
    distinct,
    last,
    lifetime,
    max,
    sum,
)

MINUTE = 60_000_000
START = 25_000_000 * MINUTE
PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "shop": Int64, "eur": Float64(resolution=0.01)},
    lateness="1m",
)  # fmt: skip
VIEW = FeatureView(
    "shops",
    entity="shop",
    source=PAY,
    features=[
        *(aggregation.over("5m", lifetime()) for aggregation in (count(), sum("eur"), max("eur"), last("eur"))),
        *(
            sketch.over(lifetime())
            for sketch in (approx_distinct("eur"), approx_quantile("eur", 0.5), approx_top_k("eur", 3))
        ),
    ],
)
SKETCHED = replace(VIEW, features=VIEW.features[-3:])


def payments(minutes: list[int], cards: list[int], shops: list[int]) -> pa.Table:
    n = len(minutes)
    return pa.table(
        {
            "id": np.arange(n),
            "at": pa.array([START + minute * MINUTE for minute in minutes], pa.timestamp("us", tz="UTC")),
            "card": cards,
            "shop": shops,
            "eur": np.arange(1, n + 1) * 1.5,
        }
    )


@pytest.mark.parametrize("view", [VIEW, SKETCHED], ids=["all", "sketches alone"])
@pytest.mark.parametrize("saves", [1, 2])
def test_what_is_left_is_the_lifetime_without_the_subject(view: FeatureView, saves: int) -> None:
    plan = compile_view(view)
    table = payments([0, 1, 2, 30, 60, 61, 62], [7, 8, 7, 7, 8, 7, 8], [1, 1, 1, 2, 1, 1, 3])
    columns = event_columns(plan, table)
    state = ViewState(plan)
    for row in range(table.num_rows):
        one = slice(row, row + 1)
        state.apply(columns.keys[one], columns.times_us[one], columns.ids[one], columns.inputs[:, one])
        state.advance(int(columns.times_us[row]))
        state.drain(log=False)
    now = int(columns.times_us[-1])
    gone = pa.compute.equal(table["card"], 8)
    rest = table.filter(pa.compute.invert(gone))
    erased = table.filter(gone)
    influence = Influence(plan, lambda: rest, erased, gone_keys=np.zeros(erased.num_rows, dtype=np.bool_))

    arrays = state.snapshot()
    for _ in range(saves):  # a second time changes nothing
        forgotten = forget_events(
            plan,
            arrays,
            lambda ids: np.isin(ids, erased["id"].to_numpy()),
            influence.changed_us(now),
            influence.base_before,
        )
        arrays = forgotten.arrays
    again = ViewState.restore(plan, arrays)
    rows = again.drain(log=False).latest

    known = event_columns(plan, rest)
    found = dict(zip(rows.keys.tolist(), rows.values, strict=True))
    assert found.keys() == {1}, "shop 3 never had another payment, shop 2 none of that card"
    expected = features_at(plan, known, np.array([1]), np.array([now]))[0]
    assert found[1].tobytes() == expected.tobytes()
    assert found[1][1 if view is VIEW else 0] == 3.0, "payments of card 7 at shop 1, two of them long summed up"


def test_a_subject_is_not_remembered_as_the_largest_value_there_was() -> None:
    plan = compile_view(FeatureView("shops", entity="shop", source=PAY, features=distinct("card").over("1h")))
    columns = event_columns(plan, payments([0, 1, 2], [7, 8, 5], [1, 1, 1]))
    state = ViewState(plan)
    state.apply(columns.keys, columns.times_us, columns.ids, columns.inputs)

    forgotten = forget_events(plan, state.snapshot(), lambda ids: ids == columns.ids[1], {})

    assert forgotten.arrays["peaks"].tolist() == [7]
