"""Answers for one bucket of entities: the kernels over the part of a history that is theirs.

bucket    row, key, time, id, first, inputs                 any rows whose keys fall into it, all of each key
answers   row, cells                                        one for each row
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import EventColumns, features_at, label_known
from feature_store.plan import ViewPlan, compile_view
from headrace.spec.features import FeatureView

__all__ = ["Bucket", "Run", "answer_bucket", "bucket_table", "run_here", "values_of"]

Bucket = tuple[int, pa.Table]
"""Number and rows."""
Run = Callable[[FeatureView, Iterable[Bucket]], Iterator[Bucket]]
"""Answers buckets of a view, in any order."""
_CELL = "c"
_INPUT = "i"


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


def answer_bucket(plan: ViewPlan, bucket: pa.Table) -> pa.Table:
    """Values of every row of a bucket at its own instant, as served."""
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
    values = features_at(plan, events, keys, times_us, own_ids=ids, mode="as_served")
    return pa.table({"row": rows, **{f"{_CELL}{n}": values[:, n] for n in range(plan.width)}})


def values_of(plan: ViewPlan, answers: pa.Table) -> NDArray[np.float64]:
    """(n, W) cells in the order of their rows."""
    order = np.argsort(answers["row"].to_numpy(), kind="stable")
    cells = np.empty((len(order), plan.width), dtype=np.float64)
    for number in range(plan.width):
        cells[:, number] = answers[f"{_CELL}{number}"].to_numpy()[order]
    return cells


def run_here(view: FeatureView, buckets: Iterable[Bucket]) -> Iterator[Bucket]:
    """One after the other, in this process."""
    plan = compile_view(view)
    for number, bucket in buckets:
        yield number, answer_bucket(plan, bucket)
