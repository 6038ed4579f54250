"""The tree over the instants at which rows expire finds what looking at all of them finds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feature_store.plan import NEVER_US, NULL
from feature_store.state.due_slots import DueSlots

SIZES = st.sampled_from([16, 64, 256, 1024, 8192])
INSTANTS = st.integers(0, 60)
SEEDS = st.integers(0, 2**32 - 1)


@given(size=SIZES, now_us=st.lists(INSTANTS, min_size=1, max_size=8), touched=st.integers(0, 40), seed=SEEDS)
def test_what_is_due_is_found_and_nothing_else(size: int, now_us: list[int], touched: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    next_change = np.full(size, NEVER_US, dtype=np.int64)
    held = rng.choice(size, size // 2, replace=False)
    next_change[held] = rng.integers(0, 60, len(held))
    tree = DueSlots(next_change)
    for at_us in now_us:
        slots = rng.integers(0, size, touched).astype(np.int32)
        next_change[slots[::2]] = NULL  # the others were only looked at
        tree.touch(slots, next_change)

        np.testing.assert_array_equal(np.sort(tree.touched), np.flatnonzero(next_change == NULL))
        found = tree.find(next_change, at_us)
        np.testing.assert_array_equal(found, np.flatnonzero(next_change <= at_us))
        # Some expire again at once, as far as the tree is concerned, some later and some never.
        next_change[found] = np.where(rng.random(len(found)) < 0.3, NEVER_US, rng.integers(at_us, 90, len(found)))
        tree.settle(next_change)
        next_change[rng.integers(0, size, 3)] = NEVER_US  # keys that went
    np.testing.assert_array_equal(tree.find(next_change, 95), np.flatnonzero(next_change <= 95))


@given(sizes=st.lists(SIZES, min_size=1, max_size=3), seed=SEEDS)
def test_it_grows(sizes: list[int], seed: int) -> None:
    rng, next_change = np.random.default_rng(seed), np.zeros(0, dtype=np.int64)
    tree = DueSlots(np.full(16, NEVER_US, dtype=np.int64))
    for size in sorted(sizes):
        more = np.where(rng.random(size - len(next_change)) < 0.1, 5, NEVER_US).astype(np.int64)
        next_change = np.concatenate([next_change, more])
        next_change[rng.integers(0, size, 2)] = NULL
        tree.rebuild(next_change)

        np.testing.assert_array_equal(tree.find(next_change, 5), np.flatnonzero(next_change <= 5))
