"""Feature rows made by hand, for tests of the stores."""

from collections.abc import Sequence

import numpy as np

from feature_store.plan import NEVER_US, ViewPlan
from feature_store.rows import RowBatch

__all__ = ["feature_rows"]


def feature_rows(
    plan: ViewPlan,
    keys: Sequence[int | str],
    values: Sequence[Sequence[float | None]],
    *,
    valid_from_us: Sequence[int] | int = 0,
    valid_until_us: int = NEVER_US,
    events: Sequence[Sequence[tuple[int, int]]] | None = None,
) -> RowBatch:
    """A batch with the given values; ``events`` gives each key's (time, id) with inputs of zero."""
    states = events if events is not None else [()] * len(keys)
    flat = [event for state in states for event in state]
    starts = np.cumsum([0, *(len(state) for state in states)])
    return RowBatch(
        keys=np.array(keys, object if plan.has_text_keys else np.int64),
        valid_from_us=np.broadcast_to(np.array(valid_from_us, np.int64), len(keys)).copy(),
        valid_until_us=np.full(len(keys), valid_until_us, np.int64),
        values=np.array([[np.nan if value is None else value for value in row] for row in values], np.float64),
        has_state=np.full(len(keys), events is not None),
        state_start=starts.astype(np.int64),
        state_t=np.array([t for t, _ in flat], np.int64),
        state_id=np.array([i for _, i in flat], np.int64),
        state_inputs=np.zeros((len(plan.inputs), len(flat)), np.int64),
        state_base=np.zeros((len(keys), 0), np.int64),
    )
