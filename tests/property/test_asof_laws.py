"""The as-of join in memory answers what the one in SQL answers, over logs with every kind of tie, gap and null."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.offline.asof_join import AsOfSource, join_in_memory
from feature_store.offline.asof_sql import SqlAsOfJoin

TIME = pa.timestamp("us", tz="UTC")
KEYS = {
    "numbers close together": (pa.int64(), st.integers(-2, 3)),
    "numbers far apart": (pa.int64(), st.sampled_from([-(2**63), -5, 0, 7, 2**63 - 1])),
    "texts": (pa.string(), st.sampled_from(["", "a", "ä", "a b"])),
}
INSTANTS = st.integers(0, 6)
FLOATS = st.sampled_from([None, 0.0, 1.5, -1.5, float("inf")])
LISTS = st.none() | st.lists(st.sampled_from([1.0, 2.0, 3.0]), max_size=2)


@dataclass(frozen=True, kw_only=True)
class Case:
    files: list[pa.Table]
    keys: pa.Array
    at: pa.Array


@st.composite
def cases(draw: st.DrawFn, kind: str) -> Case:
    """Logs of one to three files; a column may be missing in some of them, as after a new feature."""
    key_type, keys = KEYS[kind]
    files = []
    for number in range(draw(st.integers(1, 3))):
        rows = draw(
            st.lists(
                st.tuples(
                    st.none() | keys, st.none() | INSTANTS, st.none() | INSTANTS, st.integers(0, 2), FLOATS, LISTS
                ),
                max_size=12,
            )
        )
        key, at, created, n, x, items = map(list, zip(*rows, strict=True)) if rows else ([] for _ in range(6))
        columns: dict[str, Any] = {
            "key": pa.array(key, key_type),
            "at": pa.array(at, pa.int64()).cast(TIME),
            "created": pa.array(created, pa.int64()).cast(TIME),
            "n": pa.array(n, pa.int64()),
            "x": pa.array(x, pa.float64()),
        }
        if number == 0 or draw(st.booleans()):
            columns["items"] = pa.array(items, pa.list_(pa.float64()))
        files.append(pa.table(columns))
    asked = draw(st.lists(st.tuples(st.none() | keys, INSTANTS), min_size=1, max_size=12))
    return Case(
        files=files,
        keys=pa.array([key for key, _ in asked], key_type),
        at=pa.array([at for _, at in asked], pa.int64()).cast(TIME),
    )


@pytest.mark.parametrize("kind", KEYS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), created=st.sampled_from(["created", None]), ttl_us=st.sampled_from([None, 1, 3]))
def test_the_join_in_memory_equals_the_one_in_sql(
    kind: str, data: st.DataObject, created: str | None, ttl_us: int | None
) -> None:
    case = data.draw(cases(kind))
    features = data.draw(st.permutations(["n", "x", "items"]))[: data.draw(st.integers(1, 3))]
    spine = pa.table({"who": case.keys, "when": case.at})
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{number}.parquet") for number in range(len(case.files))]
        for file, table in zip(files, case.files, strict=True):
            pq.write_table(table, file)
        source = AsOfSource(files=files, key="key", time="at", created=created, features=features, ttl_us=ttl_us)

        ours = join_in_memory(source, spine["who"], spine["when"].cast(pa.int64()), 1_000)

        with SqlAsOfJoin(spine, "when", "1GB") as sql:
            theirs = sql.join(files, keys={"key": "who"}, time="at", created=created, features=features, ttl_us=ttl_us)
    assert ours is not None
    assert ours.to_pydict() == theirs.to_pydict()
    assert ours.schema == theirs.schema


def _written(folder: Path, **columns: pa.Array) -> AsOfSource:
    pq.write_table(pa.table(columns), folder / "log.parquet")
    return AsOfSource(files=[str(folder / "log.parquet")], key="key", time="at", created=None, features=["n"])


@pytest.mark.parametrize(
    ("key", "at", "asked"),
    [
        (pa.array([1.5]), pa.array([0], TIME), pa.chunked_array([[1.5]])),
        (pa.array([1]), pa.array([0], pa.timestamp("ns")), pa.chunked_array([[1]])),
        (pa.array([1]), pa.array([0], TIME), pa.chunked_array([["1"]])),
        (pa.array([1]), pa.array([0], TIME), pa.chunked_array([pa.array([1], pa.uint64())])),
    ],
)
def test_types_it_does_not_know_are_left_to_sql(tmp_path: Path, key: pa.Array, at: pa.Array, asked: Any) -> None:
    source = _written(tmp_path, key=key, at=at, n=pa.array([1]))

    assert join_in_memory(source, asked, pa.chunked_array([[0]]), 1_000) is None


def test_a_log_longer_than_allowed_is_left_to_sql(tmp_path: Path) -> None:
    source = _written(tmp_path, key=pa.array([1, 2]), at=pa.array([0, 0], TIME), n=pa.array([1, 2]))
    asked, at = pa.chunked_array([[2]]), pa.chunked_array([[0]])

    assert join_in_memory(source, asked, at, 1) is None
    assert join_in_memory(source, asked, at, 2).to_pydict() == {"n": [2]}
