"""Rows from the events that travel with them: what a lookup evaluates."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel
from feature_store.kernels import I64, Shape, T, begin, edge_at, edge_passes, put, upper_bound
from feature_store.plan import NEVER_US, NULL
from feature_store.window_kernels import fill_values, raise_peaks, scratch_size

__all__ = ["evaluate_states", "lifetime_cells"]


@allocating_kernel
def evaluate_states(
    shape: Shape,
    start: I64,
    t: I64,
    ids: I64,
    inputs: I64,
    base: I64,
    at_us: I64,
    has_own: NDArray[np.bool_],
    own_t: I64,
    own_id: I64,
    own_inputs: I64,
    values: NDArray[np.float64],
    valid_from: I64,
    valid_until: I64,
    own_state: NDArray[np.int8],
) -> None:
    """Each row at its own instant and with its own event merged in.

    An own event whose id is among the events already is not counted twice (own_state 1); otherwise it is put in
    its place (own_state 2). valid_from is NULL when nothing has happened up to the instant.

    Args:
        shape: of the view.
        start, t, ids, inputs: events of row i at ``start[i]:start[i + 1]``.
        base: (n, C) lifetime cells before the first of them; (0, C): no event was before.
        at_us, has_own, own_t, own_id, own_inputs: of each row.
        values, valid_from, valid_until, own_state: written.
    """
    features, empty, edges, seen = shape.features, shape.empty, shape.edges, shape.seen
    folds, first_cell = shape.folds, shape.base
    longest = 0
    for row in range(at_us.size):
        longest = max(longest, start[row + 1] - start[row])
    history = np.zeros((longest + 2, shape.width), dtype=np.int64)
    at = np.empty((1, len(edges)), dtype=np.int64)
    peaks = np.zeros(inputs.shape[0], dtype=np.int64)
    scratch = np.empty((1, scratch_size(longest + 1, shape.needs_scratch)), dtype=np.int64)
    raise_peaks(inputs, peaks)
    raise_peaks(own_inputs, peaks)
    for row in range(at_us.size):
        begin(history, 0, features, folds)
        if base.shape[0] > 0:
            for c in range(base.shape[1]):
                history[0, first_cell + c] = base[row, c]
        first, last = start[row], start[row + 1]
        merge = has_own[row]
        if merge:
            for k in range(first, last):
                if ids[k] == own_id[row]:
                    merge = False
            own_state[row] = 2 if merge else 1
        n = 0
        for k in range(first, last + 1):
            if merge and (k == last or own_t[row] < t[k] or (own_t[row] == t[k] and own_id[row] < ids[k])):
                put(history, n, own_t[row], own_id[row], own_inputs, row, seen, features, folds)
                n += 1
                merge = False
            if k < last:
                put(history, n, t[k], ids[k], inputs, k, seen, features, folds)
                n += 1
        changed, following = NULL, NEVER_US
        for d in range(len(edges)):
            at[0, d] = upper_bound(history, 0, n, edge_at(edges, d, at_us[row]))
            if at[0, d] > 0:
                changed = max(changed, edge_passes(edges, d, history[at[0, d] - 1, T]))
            if at[0, d] < n:
                following = min(following, edge_passes(edges, d, history[at[0, d], T]))
        fill_values(features, empty, at, 0, history, 0, at_us[row], peaks, scratch, values, row)
        valid_from[row] = changed
        valid_until[row] = following


@allocating_kernel
def lifetime_cells(shape: Shape, t: I64, ids: I64, inputs: I64) -> I64:
    """(C,) cells of the lifetimes behind all these events, which are one key's by (time, id)."""
    history = np.zeros((t.size + 1, shape.width), dtype=np.int64)
    begin(history, 0, shape.features, shape.folds)
    for k in range(t.size):
        put(history, k, t[k], ids[k], inputs, k, shape.seen, shape.features, shape.folds)
    return history[t.size, shape.base :].copy()
