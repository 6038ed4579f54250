"""Laws of the way from a source to keyed logs: every row goes where its key belongs, in the order it came."""

from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_store.partitioning import key_partition, key_partitions
from headrace import EventStream, FeatureView, Int64, Project, String, count
from headrace.spec.types import FieldType
from streams.logs.segment_buffer import SourceRows
from streams.sources.routes import EntityRoute, event_routes, no_rows

_NUMBERS = st.integers(-(2**63), 2**63 - 1)
_KEYS = st.lists(_NUMBERS, max_size=50) | st.lists(st.text(max_size=5), max_size=50)


def _column(keys: list[Any]) -> np.ndarray[Any, Any]:
    is_text = bool(keys) and isinstance(keys[0], str)
    column = np.empty(len(keys), dtype=object if is_text else np.int64)
    column[:] = keys
    return column


def _route(kind: FieldType) -> EntityRoute:
    """Visits by who came; of a source of three partitions."""
    stream = EventStream("visits", key="who", time="at", id="id", schema={"who": kind, "id": Int64()})
    view = FeatureView("visits", entity="who", source=stream, features=count().over("1d"))
    project = Project(name="shop", path=Path(), streams=(stream,), labels=(), views=(view,), requests=(), models=())
    (route,) = event_routes(project, stream, 3)
    return route


@given(keys=_KEYS, partitions=st.integers(1, 1_000))
def test_many_keys_go_where_each_goes(keys: list[Any], partitions: int) -> None:
    column = _column(keys)
    column.flags.writeable = False  # as columns of Arrow are

    assert key_partitions(column, partitions).tolist() == [key_partition(key, partitions) for key in keys]


@given(keys=_KEYS, partitions=st.integers(1, 9))
def test_a_route_shares_rows_out_whole_and_in_their_order(keys: list[Any], partitions: int) -> None:
    n, column = len(keys), _column(keys)
    kind = String() if column.dtype == object else Int64()
    route = _route(kind)
    rows = SourceRows(
        columns={"who": column, "id": np.arange(n) * 7},
        nulls={},
        times_us=np.arange(n) * 11,
        partitions=np.arange(n, dtype=np.int32) % 3,
        offsets=np.arange(n) * 13,
        arrivals_us=np.zeros(n, np.int64),
        late=np.zeros(n, np.bool_),
    )
    found: dict[int, list[tuple[Any, ...]]] = {}

    def emit(partition: int, batch: Any) -> None:
        parts = (batch.keys, batch.ids, batch.times_us, batch.sources, batch.offsets)
        found[partition] = list(zip(*(part.tolist() for part in parts), strict=True))

    route.split(rows, (), partitions, emit)

    expected: dict[int, list[tuple[Any, ...]]] = {partition: [] for partition in range(partitions)}
    for row, key in enumerate(keys):
        expected[key_partition(key, partitions)].append((key, row * 7, row * 11, row % 3, row * 13))
    assert found == expected


def test_no_rows_reach_every_partition_for_their_marks() -> None:
    route = _route(Int64())
    reached = []

    route.split(no_rows(["who", "id"]), (), 4, lambda partition, batch: reached.append((partition, len(batch.keys))))

    assert reached == [(0, 0), (1, 0), (2, 0), (3, 0)]
