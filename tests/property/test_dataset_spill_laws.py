"""A training set over a history that does not fit has the digest of one built from all of it at once."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store import dataset_spill
from feature_store.compute import Mode
from feature_store.dataset import build_dataset, rebuild_dataset
from feature_store.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    LabelStream,
    Model,
    Project,
    RequestFeatures,
    SlicesHold,
    String,
    approx_distinct,
    count,
    last,
    lifetime,
    mean,
)
from headrace.config import Settings
from headrace.errors import RejectedError

HOUR = 3_600_000_000
START = 500_000 * HOUR
BUY = EventStream(
    "buy", key="card", time="at", id="buy", schema={"card": String, "shop": Int64, "eur": Float64(nullable=True)}
)
BAD = LabelStream("bad", of=BUY, value="bad", delay="3h")
VISIT = EventStream("visit", key="card", time="at", id="visit", schema={"card": String, "n": Int64, "visit": String})
USE = FeatureView(
    "use",
    entity="card",
    source=BUY,
    closed="right",
    features=[count().over("5h"), mean("eur").over("9h"), approx_distinct("shop").over(lifetime())],
)
RISK = FeatureView("risk", entity="shop", source=BUY.with_label(BAD), features=[mean("bad").over("20h", empty=-1.0)])
SEEN = FeatureView("seen", entity="card", source=VISIT, features=[last("n").over("9h")], ttl="4h")
CLOCK = RequestFeatures("clock", of=BUY, fn=lambda buy: {"even": buy["at"] // HOUR % 2})
MODEL = Model("judge", features=[USE, RISK, SEEN, CLOCK, "eur"], label=BAD, gates=[SlicesHold(columns=("shop",))])
PROJECT = Project(
    name="shop",
    path=Path(),
    streams=(BUY, VISIT),
    labels=(BAD,),
    views=(USE, RISK, SEEN),
    requests=(CLOCK,),
    models=(MODEL,),
)


def write_log(
    home: Settings, kind: str, name: str, schema: pa.Schema, columns: dict[str, list[object]], cut: int
) -> None:
    """Segments of two partitions, cut anywhere."""
    count = len(columns["_arrival"])
    for partition in (0, 1):
        rows = [row for row in range(count) if row % 2 == partition]
        for first in range(0, len(rows), cut):
            part = rows[first : first + cut]
            values = {name: [column[row] for row in part] for name, column in columns.items()}
            values |= {"_partition": [partition] * len(part), "_offset": list(range(first, first + len(part)))}
            table = pa.table({field.name: pa.array(values[field.name], field.type) for field in schema})
            folder = log_folder(home.offline_dir, "shop", kind, name, partition)  # type: ignore[arg-type] # one of the kinds
            write_segment(table, folder, first, first + len(part) - 1)


def write_history(home: Settings, events: int, seed: int, cut: int) -> None:
    """Ids that come twice with other values, labels that are corrected, arrivals late and early."""
    random = np.random.default_rng(seed)

    def times(number: int) -> np.ndarray:
        return START + np.sort(random.integers(0, 60, number)) * HOUR

    at, ids = times(events), random.integers(0, max(events * 3 // 4, 1), events)
    buys = {
        "card": [f"c{n}" for n in random.integers(0, 6, events)],
        "shop": random.integers(0, 4, events).tolist(),
        "eur": [None if n == 0 else float(n) for n in random.integers(0, 9, events)],
        "buy": ids.tolist(),
        "at": at.tolist(),
        "_arrival": (at + random.integers(0, 4, events) * HOUR).tolist(),
        "_late": (random.random(events) < 0.1).tolist(),
    }
    write_log(home, "events", "buy", event_schema(BUY), buys, cut)
    at = times(events)
    visits = {
        "card": [f"c{n}" for n in random.integers(0, 6, events)],
        "n": random.integers(0, 9, events).tolist(),
        "visit": [f"v{n}" for n in random.integers(0, events, events)],
        "at": at.tolist(),
        "_arrival": at.tolist(),
        "_late": [False] * events,
    }
    write_log(home, "events", "visit", event_schema(VISIT), visits, cut)
    labels = {
        "buy": random.choice(ids, events).tolist(),
        "bad": random.integers(0, 2, events).tolist(),
        "_arrival": (START + random.integers(0, 70, events) * HOUR).tolist(),
    }
    write_log(home, "labels", "bad", label_schema(BAD), labels, cut)


@pytest.mark.filterwarnings("ignore:.*arrived long after:UserWarning")
@settings(deadline=None, max_examples=20)
@given(
    events=st.integers(2, 120),
    seed=st.integers(0, 2**16),
    cut=st.integers(3, 60),
    memory=st.integers(1, 200_000),
    mode=st.sampled_from(["as_served", "corrected"]),
    span=st.tuples(st.integers(0, 30), st.integers(31, 70), st.integers(20, 80)),
)
def test_it_is_the_same_data_set(
    tmp_path_factory: pytest.TempPathFactory,
    events: int,
    seed: int,
    cut: int,
    memory: int,
    mode: Mode,
    span: tuple[int, int, int],
) -> None:
    home = Settings(home=tmp_path_factory.mktemp("home"))
    write_history(home, events, seed, cut)
    start_us, end_us, as_of_us = (START + hours * HOUR for hours in span)
    asked = {"start_us": start_us, "end_us": end_us, "as_of_us": as_of_us}
    built = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_spill, "_FEWEST_ROWS", 7)
        for bound in (None, memory):
            try:
                built.append(build_dataset(home, PROJECT, MODEL, mode=mode, memory_bytes=bound, **asked))
            except RejectedError as error:
                built.append(str(error))

    assert built[0] == built[1]
    if not isinstance(built[0], str):
        assert rebuild_dataset(home, PROJECT, built[0]) == built[0].content_hash
