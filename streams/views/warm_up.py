"""Everything that is compiled or loaded at first use, used once before anybody waits for a partition."""

import numpy as np
import pyarrow as pa

from feature_store.plan import NULL, ViewPlan
from feature_store.state.view_state import ViewState

__all__ = ["warm_up"]

_ANY_US = 1_700_000_000_000_000


def warm_up(plan: ViewPlan) -> None:
    """Do with one event of one key what a view's task does with all of them.

    The first kernel of a process takes more than half a second to load, whichever it is; pyarrow imports pandas, a
    second, when it is given its first array, which would be that of the first file.
    """
    pa.array(np.zeros(1))
    state = ViewState(plan)
    keys = np.array(["key"], dtype=object) if plan.has_text_keys else np.zeros(1, dtype=np.int64)
    one = np.ones(1, dtype=np.int64)
    state.apply(keys, one * _ANY_US, one, np.full((len(plan.inputs), 1), NULL, dtype=np.int64))
    state.advance(_ANY_US + 1)
    state.drain(log=True)
    ViewState.restore(plan, state.snapshot())
