"""Erasing in the logs with texts as keys and ids: the subject's rows go, rows of others are as without it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.ids import event_ids64
from feature_store.offline.event_log import read_events, read_labels
from feature_store.offline.offline_log import log_folder, read_segment, segments_below, write_segment
from feature_store.offline_tables import event_schema, feature_table, label_schema
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.state.view_state import ViewState
from feature_store.upkeep.erase_datasets import erase_datasets, erased_datasets
from feature_store.upkeep.erase_influence import Influence
from feature_store.upkeep.erase_logs import (
    Rewritten,
    column_values,
    erase_events,
    erase_features,
    erase_labels,
    find_events,
    rewrite,
)
from feature_store.upkeep.erased import ErasedSubjects
from headrace import EventStream, FeatureView, Float64, LabelStream, Model, Project, String, count, sum
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import read_dataset, write_dataset
from headrace.errors import IntegrityError

SECOND = 1_000_000
SALES = EventStream(
    "sales", key="card", time="at", id="sale", lateness="5s", earliest="1970-01-01T00:00:00Z",
    schema={"card": String, "shop": String, "sale": String, "eur": Float64(resolution=0.01, nullable=True)},
)  # fmt: skip
FRAUDS = LabelStream("frauds", of=SALES, value="fraud", delay="10s")
CARD = FeatureView("card_use", entity="card", source=SALES, closed="right", features=[count().over("9s")])
SHOP = FeatureView("shop_use", entity="shop", source=SALES, features=[count().over("9s"), sum("eur").over("20s")])
MODEL = Model("fraud", features=[CARD, SHOP], label=FRAUDS)
PROJECT = Project(
    name="p", path=Path(), streams=(SALES,), labels=(FRAUDS,), views=(CARD, SHOP), requests=(), models=(MODEL,)
)
Sale = tuple[str, str, str, float | None, int]
"""(id, card, shop, eur, second)."""
SALES_MADE: list[Sale] = [
    (f"s{n}", "ann" if n % 3 == 0 else f"card {n % 4}", "corner" if n == 9 else f"shop {n % 2}", n / 4 or None, n)
    for n in range(40)
]


def _log_events(root: Path, sales: list[Sale]) -> None:
    columns = {
        **{name: [row[i] for row in sales] for i, name in enumerate(("sale", "card", "shop", "eur"))},
        "at": [row[4] * SECOND for row in sales],
        "_arrival": [row[4] * SECOND for row in sales],
        "_partition": [0] * len(sales),
        "_offset": range(len(sales)),
        "_late": [False] * len(sales),
    }
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in event_schema(SALES)})
    folder = log_folder(root, "p", "events", "sales", 0)
    for first in range(0, len(sales), 10):
        part = table.slice(first, 10)
        write_segment(part, folder, first, first + part.num_rows - 1)
    labels = pa.table(
        [[row[0] for row in sales], [1] * len(sales), columns["_arrival"], columns["_partition"], columns["_offset"]],
        names=label_schema(FRAUDS).names,
    )
    write_segment(labels.cast(label_schema(FRAUDS)), log_folder(root, "p", "labels", "frauds", 0), 0, len(sales) - 1)


def _log_features(root: Path, plan: ViewPlan, sales: list[Sale]) -> None:
    """The view's log as the stream writes it, in four batches."""
    state, folder = ViewState(plan), log_folder(root, "p", "features", plan.view.name, 0)
    entity = 1 if plan.view is CARD else 2
    for number in range(4):
        part = [row for row in sales if row[4] // 10 == number]
        keys = np.array([row[entity] for row in part], dtype=object)
        inputs = [NULL if row[3] is None else round(row[3] * 100) for row in part]
        state.apply(
            keys,
            np.array([row[4] * SECOND for row in part]),
            event_ids64([row[0] for row in part]),
            np.array([inputs], dtype=np.int64)[: len(plan.inputs)],
        )
        state.advance((number * 10 + 9) * SECOND)
        logged = state.drain(log=True).log
        assert logged is not None
        write_segment(feature_table(plan, logged, created_us=number, version=number), folder, number, number)


def _counting_rows(root: Path, view: FeatureView) -> list[tuple[object, ...]]:
    """Rows of a feature log that count, without when they were written and what was foreseen then."""
    tables = [read_segment(s.path) for s in segments_below(log_folder(root, "p", "features", view.name))]
    newest = {(row[view.entity], row["event_timestamp"]): row for row in pa.concat_tables(tables).to_pylist()}
    return sorted((*key, *(row[name] for name in view.feature_names)) for key, row in newest.items())


@pytest.fixture
def erased(tmp_path: Path) -> ErasedSubjects:
    register = ErasedSubjects(tmp_path / "erased.json")
    register.add_keys("card", ["ann"])
    return register


def test_others_are_as_if_the_subject_had_never_been(tmp_path: Path, erased: ErasedSubjects) -> None:
    root, never = tmp_path / "with", tmp_path / "never"
    others = [row for row in SALES_MADE if row[1] != "ann"]
    for folder, sales in ((root, SALES_MADE), (never, others)):
        _log_events(folder, sales)
        for view in PROJECT.views:
            _log_features(folder, compile_view(view), sales)

    found = find_events(root, PROJECT, SALES, erased)
    erased.add_events("sales", event_ids64(column_values(found, "sale")))
    assert found.num_rows == 14
    survivors = read_events(never, PROJECT, SALES)
    influences = {
        view.name: Influence(
            compile_view(view),
            lambda: survivors,
            found,
            gone_keys=erased.has_keys(view.entity, column_values(found, view.entity)),
        )
        for view in PROJECT.views
    }
    assert dict(erase_features(root, PROJECT, erased, dry_run=False))["card_use"].rows > 0
    for view in PROJECT.views:
        rewrite(log_folder(root, "p", "features", view.name), influences[view.name].rewrite, dry_run=False)
        assert _counting_rows(root, view) == _counting_rows(never, view)
    assert erase_labels(root, PROJECT, FRAUDS, erased, dry_run=False) == Rewritten(files=1, rows=14)
    assert erase_events(root, PROJECT, SALES, erased, dry_run=False) == Rewritten(files=4, rows=14)

    assert read_events(root, PROJECT, SALES)["sale"].to_pylist() == [row[0] for row in others]
    assert read_labels(root, PROJECT, FRAUDS)["sale"].to_pylist() == [row[0] for row in others]
    assert influences["shop_use"].changed_us(100 * SECOND).keys() == {"shop 0", "shop 1"}
    assert influences["shop_use"].keys.tolist() == ["corner", "shop 0", "shop 1"]
    assert influences["card_use"].keys.tolist() == []


def test_a_dry_run_counts_and_leaves_every_file(tmp_path: Path, erased: ErasedSubjects) -> None:
    _log_events(tmp_path, SALES_MADE)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}

    counted = erase_events(tmp_path, PROJECT, SALES, erased, dry_run=True)

    assert counted == Rewritten(files=4, rows=14)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}


def _dataset(root: Path, ids: list[str]) -> str:
    table = pa.table({"sale": ids, "at": range(len(ids)), "x": [0.5] * len(ids), "fraud": [0] * len(ids)})
    manifest = DatasetManifest(
        dataset_id="", model="fraud", content_hash="", mode="corrected", start_us=0, end_us=9, as_of_us=9,
        rows=len(ids), positives=0, features=("x",), definitions={}, sources={}, columns=tuple(table.column_names),
    )  # fmt: skip
    return write_dataset(root, table, manifest).dataset_id


def test_a_training_set_with_the_subject_keeps_its_manifest_and_says_why_it_has_no_rows(
    tmp_path: Path, erased: ErasedSubjects
) -> None:
    erased.add_events("sales", event_ids64(["s3"]))
    held, free = _dataset(tmp_path, ["s1", "s3", "s4"]), _dataset(tmp_path, ["s1", "s4"])

    assert list(erase_datasets(tmp_path, PROJECT, erased, now_us=0, dry_run=True)) == [(held, 1)]
    assert read_dataset(tmp_path / held)[1].num_rows == 3
    assert list(erase_datasets(tmp_path, PROJECT, erased, now_us=0, dry_run=False)) == [(held, 1)]

    with pytest.raises(IntegrityError, match=f"rows of data set {held} were removed with a subject"):
        read_dataset(tmp_path / held)
    assert read_dataset(tmp_path / free)[1].num_rows == 2
    assert erased_datasets(tmp_path, PROJECT) == [held]
    assert list(erase_datasets(tmp_path, PROJECT, erased, now_us=0, dry_run=False)) == []
