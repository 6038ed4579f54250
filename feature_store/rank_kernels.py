"""Windows that slide along one key, of kinds that rank values: how many are different, quantiles, the most frequent.

Every value of the stretch is numbered by size once; a binary tree over the numbers is then changed on the way from a
leaf to the root when a value comes or goes.
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.fold_kernels import DISTINCT
from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64, KIND, RANK_IN, RANK_OF, SCALE, SLOT, K

__all__ = ["most_frequent", "ranked"]


@allocating_kernel
def _number(xs: I64, ranks: I64, different: I64) -> int:
    """The different values in rising order, and which of them each value is; returns how many there are."""
    number = 0
    order = np.argsort(xs)
    for e in order:
        if number == 0 or xs[e] != different[number - 1]:
            different[number] = xs[e]
            number += 1
        ranks[e] = number - 1
    return number


@kernel
def _leaves(number: int) -> int:
    """Leaves of a tree with a place for each; the children of node i are 2i and 2i + 1, the root is 1."""
    leaves = 1
    while leaves < number:
        leaves *= 2
    return leaves


@kernel
def _count(tree: I64, leaf: int, by: int) -> int:
    """Count a value in, or out, on the way from its leaf to the root; returns how often it is there now."""
    node = leaf
    while node > 0:
        tree[node] += by
        node >>= 1
    return int(tree[leaf])


@allocating_kernel
def ranked(
    features: I64,
    empty: NDArray[np.float64],
    f: int,
    xs: I64,
    begins: I64,
    ends: I64,
    place: int,
    values: NDArray[np.float64],
) -> None:
    """Different values, and quantiles: how often each value is there, in a tree of sums over them by size.

    O((m + n) log m) of n rows and m values; arguments as of :func:`most_frequent`.
    """
    kind, scale, slot = features[f, KIND], float(features[f, SCALE]), features[f, SLOT]
    ranks, different = np.empty(xs.size, dtype=np.int64), np.empty(xs.size, dtype=np.int64)
    leaves = _leaves(_number(xs, ranks, different))
    tree = np.zeros(2 * leaves, dtype=np.int64)
    left, come, number = 0, 0, 0
    for row in range(begins.size):
        while come < ends[row]:
            number += int(_count(tree, leaves + ranks[come], 1) == 1)
            come += 1
        while left < begins[row]:
            number -= int(_count(tree, leaves + ranks[left], -1) == 0)
            left += 1
        if kind == DISTINCT:
            values[place + row, slot] = float(number)
        elif come == left:
            values[place + row, slot] = empty[f]
        else:
            below = ((come - left) * features[f, RANK_OF] + features[f, RANK_IN] - 1) // features[f, RANK_IN] - 1
            node = 1
            while node < leaves:
                node *= 2
                if below >= tree[node]:
                    below -= tree[node]
                    node += 1
            values[place + row, slot] = float(different[node - leaves]) / scale


@kernel
def _play(tree: I64, leaf: int, counts: I64, newest: I64) -> None:
    """Find the winner of each match anew in which a value takes part."""
    node = leaf >> 1
    while node > 0:
        one, other = tree[2 * node], tree[2 * node + 1]
        if one < 0 or (
            other >= 0
            and (counts[other] > counts[one] or (counts[other] == counts[one] and newest[other] > newest[one]))
        ):
            one = other
        tree[node] = one
        node >>= 1


@allocating_kernel
def most_frequent(
    features: I64, f: int, xs: I64, begins: I64, ends: I64, place: int, values: NDArray[np.float64]
) -> None:
    """The most frequent values, of equals the one seen last: winners of a knock-out, each taken out for the next.

    O((m + k n) log m) of n rows and m values.

    Args:
        features: of the Shape.
        f: which feature.
        xs: (m,) values of the stretch, by (time, id); at least one.
        begins, ends: (n,) which of them each row's window has; neither ever goes back.
        place: first row of ``values``.
        values: (.., W) written.
    """
    k, scale, slot = features[f, K], float(features[f, SCALE]), features[f, SLOT]
    ranks, different = np.empty(xs.size, dtype=np.int64), np.empty(xs.size, dtype=np.int64)
    number = _number(xs, ranks, different)
    leaves = _leaves(number)
    tree = np.full(2 * leaves, -1, dtype=np.int64)
    counts, newest = np.zeros(number, dtype=np.int64), np.zeros(number, dtype=np.int64)
    best = np.empty(k, dtype=np.int64)
    left, come = 0, 0
    for row in range(begins.size):
        while come < ends[row]:
            rank = ranks[come]
            counts[rank] += 1
            newest[rank] = come
            tree[leaves + rank] = rank
            _play(tree, leaves + rank, counts, newest)
            come += 1
        while left < begins[row]:
            rank = ranks[left]
            counts[rank] -= 1
            tree[leaves + rank] = rank if counts[rank] > 0 else -1
            _play(tree, leaves + rank, counts, newest)
            left += 1
        for item in range(k):
            rank = best[item] = tree[1]
            values[place + row, slot + item] = np.nan
            if rank >= 0:
                values[place + row, slot + item] = float(different[rank]) / scale
                tree[leaves + rank] = -1
                _play(tree, leaves + rank, counts, newest)
        for rank in best:
            if rank >= 0:
                tree[leaves + rank] = rank
                _play(tree, leaves + rank, counts, newest)
