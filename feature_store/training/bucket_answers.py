"""Answers for one bucket of entities: the kernels over the part of a history that is theirs.

    bucket    tables of whatever is asked about, all of each key ──► answers    row, cells

of a file            row, key, time, id, first, inputs                 every event is asked about at its own instant
of a training set    see :mod:`feature_store.training.training_answers`
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import EventColumns, features_at, label_known
from feature_store.plan import ViewPlan, compile_view
from headrace.spec.features import FeatureView

__all__ = [
    "Answer",
    "Answered",
    "Bucket",
    "Run",
    "answer_bucket",
    "answer_table",
    "bucket_table",
    "put_values",
    "run_here",
    "values_of",
]

Bucket = tuple[int, tuple[pa.Table, ...]]
"""Number and tables."""
Answered = tuple[int, pa.Table]
"""Number and answers."""
_CELL = "c"
_INPUT = "i"


class Answer(Protocol):
    """Gives the answers to a bucket; a function of a module, so that other machines find it by its name."""

    def __call__(self, plan: ViewPlan, /, *tables: pa.Table) -> pa.Table: ...


class Run(Protocol):
    """Answers buckets of a view, in any order."""

    def __call__(self, view: FeatureView, answer: Answer, buckets: Iterable[Bucket], /) -> Iterator[Answered]: ...


def bucket_table(plan: ViewPlan, events: EventColumns, rows: NDArray[np.int64], first: NDArray[np.bool_]) -> pa.Table:
    """Events in the form of a bucket.

    Args:
        plan: the view.
        events: as the file or log has them.
        rows: (n,) their numbers.
        first: (n,) whether an event is the first of its id; the others are asked about and count nothing.
    """
    inputs = {f"{_INPUT}{n}": pa.array(column) for n, column in enumerate(events.inputs)}
    keys = pa.array(events.keys, pa.string() if plan.has_text_keys else pa.int64())
    return pa.table({"row": rows, "first": first, "key": keys, "t": events.times_us, "id": events.ids, **inputs})


def answer_bucket(plan: ViewPlan, /, *tables: pa.Table) -> pa.Table:
    """Values of every row of a file's bucket at its own instant, as served."""
    (bucket,) = tables
    rows = bucket["row"].to_numpy()
    keys: NDArray[np.generic] = bucket["key"].to_numpy(zero_copy_only=False)
    first = bucket["first"].to_numpy(zero_copy_only=False)
    times_us, ids = bucket["t"].to_numpy(), bucket["id"].to_numpy()
    inputs = np.empty((len(plan.inputs), len(rows)), dtype=np.int64)
    for number in range(len(plan.inputs)):
        inputs[number] = bucket[f"{_INPUT}{number}"].to_numpy()
    counted = np.ascontiguousarray(inputs[:, first])
    events = EventColumns(keys=keys[first], times_us=times_us[first], ids=ids[first], inputs=counted)
    events = replace(events, input_arrival_us=label_known(plan, events))
    return answer_table(rows, features_at(plan, events, keys, times_us, own_ids=ids, mode="as_served"))


def answer_table(rows: NDArray[np.int64], values: NDArray[np.float64]) -> pa.Table:
    """Answers in the form in which they travel: the cells (n, W) of the rows (n,)."""
    return pa.table({"row": rows, **{f"{_CELL}{n}": values[:, n] for n in range(values.shape[1])}})


def put_values(answers: pa.Table, values: NDArray[np.float64]) -> None:
    """Write cells to where their rows are in ``values``."""
    rows = answers["row"].to_numpy()
    for number in range(values.shape[1]):
        values[rows, number] = answers[f"{_CELL}{number}"].to_numpy()


def values_of(plan: ViewPlan, answers: pa.Table) -> NDArray[np.float64]:
    """(n, W) cells in the order of their rows."""
    order = np.argsort(answers["row"].to_numpy(), kind="stable")
    cells = np.empty((len(order), plan.width), dtype=np.float64)
    for number in range(plan.width):
        cells[:, number] = answers[f"{_CELL}{number}"].to_numpy()[order]
    return cells


def run_here(view: FeatureView, answer: Answer, buckets: Iterable[Bucket], /) -> Iterator[Answered]:
    """One after the other, in this process."""
    plan = compile_view(view)
    for number, tables in buckets:
        yield number, answer(plan, *tables)
