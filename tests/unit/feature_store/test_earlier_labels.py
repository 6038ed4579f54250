"""A label that was corrected later counts until then: in columns, and in what a training set sees of a log."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.compute import event_columns, features_at
from feature_store.earlier_labels import earlier_column, earlier_of, earlier_taken
from feature_store.offline.event_log import read_events
from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from feature_store.plan import compile_view
from headrace import EventStream, FeatureView, Int64, LabelStream, Project, approx_distinct, last, lifetime, mean
from headrace.spec.aggregations import Feature

SALES = EventStream("sales", key="card", time="at", id="sale", schema={"card": Int64}, earliest="1970-01-01T00:00:00Z")
FRAUDS = LabelStream("frauds", of=SALES, value="fraud", delay="20us")


@given(st.lists(st.lists(st.tuples(st.integers(), st.integers(0, 1)), max_size=3), max_size=9), st.data())
def test_labels_travel_beside_their_events(lists: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    flat = [(row, at % 2**40, value) for row, labels in enumerate(lists) for at, value in labels]
    earlier = np.array(flat, dtype=np.int64).reshape(-1, 3).T
    rows = np.array(sorted(data.draw(st.sets(st.sampled_from(range(len(lists)))))) if lists else [], dtype=np.int64)

    column = pa.chunked_array([earlier_column(earlier, len(lists))])

    assert np.array_equal(earlier_of(column), earlier)
    assert np.array_equal(earlier_of(column.take(pa.array(rows))), earlier_taken(earlier, rows))


@pytest.mark.parametrize(
    ("feature", "known"),
    [
        (last("fraud").over("1h"), [None, 1.0, 0.0, 1.0]),
        (mean("fraud").over("1h", empty=-1.0), [-1.0, 1.0, 0.0, 1.0]),
        (approx_distinct("fraud").over(lifetime()), [0.0, 1.0, 1.0, 1.0]),
    ],
    ids=lambda given: given[0].kind if isinstance(given[0], Feature) else "",
)
def test_between_two_labels_the_first_is_known(tmp_path: Path, feature: tuple[Feature], known: list[float]) -> None:
    event = pa.table([[1], [7], [100], [100], [0], [0], [False]], names=event_schema(SALES).names)
    write_segment(event.cast(event_schema(SALES)), log_folder(tmp_path, "shop", "events", "sales", 0), 0, 0)
    labels = pa.table(
        [[7] * 4, [1, 1, 0, 1], [110, 115, 130, 150], [0] * 4, range(4)], names=label_schema(FRAUDS).names
    )
    write_segment(labels.cast(label_schema(FRAUDS)), log_folder(tmp_path, "shop", "labels", "frauds", 0), 0, 3)
    view = FeatureView("risk", entity="card", source=SALES.with_label(FRAUDS), features=feature, closed="right")
    project = Project(
        name="shop", path=tmp_path, streams=(SALES,), labels=(FRAUDS,), views=(view,), requests=(), models=()
    )
    plan, at_us = compile_view(view), np.array([109, 110, 149, 150])

    events = event_columns(plan, read_events(tmp_path, project, SALES, FRAUDS))
    values = features_at(plan, events, np.ones(4, dtype=np.int64), at_us, mode="as_served")
    corrected = features_at(plan, events, np.ones(1, dtype=np.int64), at_us[:1], mode="corrected")

    assert [None if np.isnan(value) else value for value in values[:, 0]] == known
    assert corrected[0, 0] == 1.0
