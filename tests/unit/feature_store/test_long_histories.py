"""Files whose keys have more events than a block of the kernels, under more windows than are walked together."""

from dataclasses import replace

import numpy as np
import pytest

from feature_store.compute import EventColumns, features_at
from feature_store.plan import compile_view
from headrace import EventStream, FeatureView, Float64, Int64, count, mean, sum
from headrace.spec.windows import session
from tests.oracle import OracleEvent, row_values
from tests.property.view_cases import as_list

MINUTE = 60_000_000
EVENTS, KEYS = 1_500, 3
STREAM = EventStream("e", key="k", time="at", id="id", schema={"k": Int64, "x": Float64(resolution=0.01)})
FEATURES = [
    *(count().over(window) for window in ("5m", "17m", "1h", "6h")),
    *(mean("x").over(window) for window in ("5m", "2h")),
    sum("x").over("1h", hop="10m"),
    count().over(session("2m")),
]
VIEW = FeatureView("v", entity="k", source=STREAM, closed="both", features=FEATURES)
PLAN = compile_view(VIEW)


@pytest.fixture(scope="module")
def table() -> EventColumns:
    random = np.random.default_rng(3)
    times = np.sort(random.integers(0, 900, EVENTS)) * MINUTE  # several at one instant
    return EventColumns(
        keys=random.integers(0, KEYS, EVENTS) * 10**15,  # too far apart for a table of them all
        times_us=times,
        ids=random.permutation(EVENTS),
        inputs=random.integers(-1_000, 1_000, (1, EVENTS)),
        arrival_us=times + random.integers(0, 30, EVENTS) * MINUTE,
    )


def oracle(
    table: EventColumns, key: int, q: int, *, own: int | None = None, served: bool = False
) -> list[float | None]:
    events = [
        OracleEvent(key=key, t=int(t), id=int(number), values={"x": int(x)})
        for k, t, number, x, arrival in zip(
            table.keys, table.times_us, table.ids, table.inputs[0], table.arrival_us, strict=True
        )
        if k == key and (not served or arrival <= q or number == own)
    ]
    return row_values(VIEW, events, q)


def test_every_event_at_its_own_time(table: EventColumns) -> None:
    found = features_at(PLAN, table, table.keys, table.times_us)
    served = features_at(PLAN, table, table.keys, table.times_us, own_ids=table.ids, mode="as_served")
    for row in range(0, EVENTS, 31):
        key, q = int(table.keys[row]), int(table.times_us[row])
        assert as_list(found[row]) == oracle(table, key, q)
        assert as_list(served[row]) == oracle(table, key, q, own=int(table.ids[row]), served=True)


def test_other_instants_in_any_order_and_keys_nobody_knows(table: EventColumns) -> None:
    random = np.random.default_rng(4)
    keys, instants = random.integers(0, KEYS + 1, EVENTS) * 10**15, random.integers(-5, 1_500, EVENTS) * MINUTE
    found = features_at(PLAN, table, keys, instants)
    for row in range(0, EVENTS, 31):
        assert as_list(found[row]) == oracle(table, int(keys[row]), int(instants[row]))


def test_keys_close_together_are_answered_alike(table: EventColumns) -> None:
    near = replace(table, keys=table.keys // 10**15 - 1)
    found = features_at(PLAN, table, table.keys, table.times_us)
    assert features_at(PLAN, near, near.keys, near.times_us).tobytes() == found.tobytes()
