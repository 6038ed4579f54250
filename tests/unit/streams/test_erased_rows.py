"""Rows of erased subjects are found in sources and keyed logs, whatever they carry."""

from pathlib import Path

import numpy as np

from feature_store.upkeep.erased import ErasedSubjects
from headrace import EventStream, Float64, Int64, LabelStream, Project
from streams.logs.erased_rows import ErasedBatches, ErasedMessages
from streams.logs.keyed_log import EVENTS, LABELS, KeyedBatch, SourceMark
from streams.logs.segment_buffer import SourceRows

SALES = EventStream("sales", key="card", time="at", id="sale", schema={"card": Int64, "shop": Int64, "eur": Float64})
FRAUDS = LabelStream("frauds", of=SALES, value="fraud", delay="1d")
PROJECT = Project(name="p", path=Path(), streams=(SALES,), labels=(FRAUDS,), views=(), requests=(), models=())
MARK = SourceMark(0, 9, 5, False)


def _rows(**columns: list[int]) -> SourceRows:
    n = len(next(iter(columns.values())))
    numbers = np.arange(n, dtype=np.int64)
    return SourceRows(
        columns={name: np.array(values) for name, values in columns.items()},
        nulls={},
        times_us=numbers,
        partitions=numbers.astype(np.int32),
        offsets=numbers,
        arrivals_us=numbers,
        late=np.zeros(n, dtype=np.bool_),
    )


def _batch(kind: str, topic: str, ids: list[int], keys: list[int]) -> KeyedBatch:
    numbers = np.arange(len(ids), dtype=np.int64)
    return KeyedBatch(
        kind=kind,
        topic=topic,
        partitions=1,
        marks=(MARK,),
        sources=numbers.astype(np.int32),
        offsets=numbers,
        ids=np.array(ids),
        keys=np.array(keys) if keys else np.empty(0, dtype=np.int64),
        times_us=numbers if keys else np.empty(0, dtype=np.int64),
        columns={"x": numbers * 10},
    )


def test_an_event_is_found_by_its_key_and_its_label_by_the_event(tmp_path: Path) -> None:
    erased = ErasedSubjects(tmp_path / "p.json")
    erased.add_keys("card", [7])

    gone = ErasedMessages(erased, SALES).find(_rows(sale=[1, 2, 3], card=[7, 8, 7], shop=[7, 7, 7]))
    assert gone.tolist() == [True, False, True]

    labels = ErasedMessages(erased, FRAUDS)
    assert labels.find(_rows(sale=[2, 3, 1], fraud=[0, 1, 1])).tolist() == [False, True, True]
    labels.save()
    assert ErasedSubjects(tmp_path / "p.json").has_events("sales", np.array([1, 2, 3])).tolist() == [True, False, True]


def test_a_keyed_log_of_any_entity_gives_the_others_and_all_marks(tmp_path: Path) -> None:
    erased = ErasedSubjects(tmp_path / "p.json")
    erased.add_keys("card", [7])
    erased.add_events("sales", np.array([1]))
    batches = ErasedBatches(erased, PROJECT)

    by_card = batches.without(_batch(EVENTS, "sales", [1, 2, 3], [7, 8, 7]), "card")
    by_shop = batches.without(_batch(EVENTS, "sales", [1, 2], [7, 7]), "shop")
    labels = batches.without(_batch(LABELS, "frauds", [2, 1], []), "shop")

    assert (by_card.ids.tolist(), by_card.columns["x"].tolist(), by_card.marks) == ([2], [10], (MARK,))
    assert (by_shop.ids.tolist(), by_shop.keys.tolist(), by_shop.times_us.tolist()) == ([2], [7], [1])
    assert (labels.ids.tolist(), labels.offsets.tolist(), labels.marks) == ([2], [0], (MARK,))


def test_without_erased_subjects_batches_pass_as_they_are(tmp_path: Path) -> None:
    batch = _batch(EVENTS, "sales", [1], [7])

    assert ErasedBatches(ErasedSubjects(tmp_path / "p.json"), PROJECT).without(batch, "card") is batch
    assert not ErasedMessages(ErasedSubjects(tmp_path / "p.json"), SALES).find(_rows(sale=[1], card=[7])).any()
