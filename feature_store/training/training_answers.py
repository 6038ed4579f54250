"""Answers to the questions of a training set, a bucket of entities at a time.

events       key, time, id, inputs, when it and they had arrived    all that can matter to the keys of the bucket
questions    row, key, time, and the row's own event                rows of the training set that ask about them
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import EventColumns, features_at
from feature_store.earlier_labels import earlier_column, earlier_of
from feature_store.plan import ViewPlan
from feature_store.training.bucket_answers import answer_table

__all__ = ["answer_questions", "events_table", "no_events", "questions_table"]

I64 = NDArray[np.int64]
_INPUT = "i"
_KNOWN = "k"
_EARLIER = "earlier"


def events_table(plan: ViewPlan, events: EventColumns) -> pa.Table:
    """Events as :func:`answer_questions` takes them."""
    columns: dict[str, Any] = {"key": _keys(plan, events.keys), "t": events.times_us, "id": events.ids}
    if events.arrival_us is not None:
        columns["arrival"] = events.arrival_us
    columns |= {f"{_INPUT}{number}": pa.array(column) for number, column in enumerate(events.inputs)}
    if events.earlier_labels is not None:
        columns[_EARLIER] = earlier_column(events.earlier_labels, len(events.ids))
    known = () if events.input_arrival_us is None else events.input_arrival_us
    return pa.table(columns | {f"{_KNOWN}{number}": pa.array(column) for number, column in enumerate(known)})


def no_events(plan: ViewPlan) -> EventColumns:
    """The events of keys that have none."""
    nothing = np.empty(0, dtype=np.int64)
    keys = nothing.astype(object) if plan.has_text_keys else nothing
    return EventColumns(keys=keys, times_us=nothing, ids=nothing, inputs=nothing.reshape(len(plan.inputs), 0))


def questions_table(
    plan: ViewPlan, rows: I64, keys: NDArray[np.generic], times_us: I64, own_ids: I64 | None
) -> pa.Table:
    """Questions as :func:`answer_questions` takes them.

    Args:
        plan: the view.
        rows: (n,) where the answers go.
        keys: (n,) of the view's entity.
        times_us: (n,) the instants.
        own_ids: (n,) event that each row is about; None when the view looks at another stream.
    """
    own = {} if own_ids is None else {"own": own_ids}
    return pa.table({"row": rows, "key": _keys(plan, keys), "t": times_us, **own})


def answer_questions(plan: ViewPlan, /, *tables: pa.Table) -> pa.Table:
    """Values of a view for rows that ask, from the events of their keys; see feature_store.training.training_rows."""
    events, questions = tables
    names = set(events.column_names)
    held = EventColumns(
        keys=events["key"].to_numpy(zero_copy_only=False),
        times_us=events["t"].to_numpy(),
        ids=events["id"].to_numpy(),
        inputs=_stacked(events, _INPUT, len(plan.inputs)),
        arrival_us=events["arrival"].to_numpy() if "arrival" in names else None,
        input_arrival_us=_stacked(events, _KNOWN, len(plan.inputs)) if f"{_KNOWN}0" in names else None,
        earlier_labels=earlier_of(events[_EARLIER]) if _EARLIER in names else None,
    )
    is_own = "own" in questions.column_names
    values = features_at(
        plan,
        held,
        questions["key"].to_numpy(zero_copy_only=False),
        questions["t"].to_numpy(),
        own_ids=questions["own"].to_numpy() if is_own else None,
        mode="as_served",
        as_read=not is_own,
    )
    return answer_table(questions["row"].to_numpy(), values)


def _keys(plan: ViewPlan, keys: NDArray[np.generic]) -> pa.Array:
    return pa.array(keys, pa.string() if plan.has_text_keys else pa.int64())


def _stacked(table: pa.Table, prefix: str, count: int) -> I64:
    stacked = np.empty((count, table.num_rows), dtype=np.int64)
    for number in range(count):
        stacked[number] = table[f"{prefix}{number}"].to_numpy()
    return stacked
