"""The table of event ids, and rows brought together by group."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from feature_store import query_kernels
from feature_store.key_codes import number_keys
from feature_store.state import table_kernels
from feature_store.state.state_arrays import IDS, SLOT, empty_ids, empty_pending

NUMBERS = st.integers(0, 40)
EVENTS = st.lists(st.tuples(NUMBERS, st.integers(0, 9)), max_size=30)


def admit(known: NDArray[np.int64], events: Sequence[tuple[int, int]], oldest_us: int) -> list[int]:
    ids, times = (np.array([event[part] for event in events], dtype=np.int64) for part in (0, 1))
    outcome = np.empty(len(events), dtype=np.int8)
    table_kernels.admit(
        np.zeros(len(events), dtype=np.int32),
        times,
        ids,
        np.zeros((1, len(events)), dtype=np.int64),
        np.zeros(IDS + 2, dtype=np.int64),
        known,
        empty_pending(64),
        -1,
        oldest_us,
        0,
        outcome,
    )
    return outcome.tolist()


@given(first=EVENTS, oldest_us=st.integers(0, 10), second=EVENTS)
def test_taking_old_ids_out_changes_no_answer(
    first: list[tuple[int, int]], oldest_us: int, second: list[tuple[int, int]]
) -> None:
    kept, purged = empty_ids(64), empty_ids(64)
    admit(kept, first, 0)
    admit(purged, first, 0)
    newest = {}
    for number, t in first:
        newest.setdefault(number, t)
    assert table_kernels.purge_ids(purged, oldest_us) == sum(t >= oldest_us for t in newest.values())
    assert np.count_nonzero(purged[:, SLOT] >= 0) == sum(t >= oldest_us for t in newest.values())
    assert admit(purged, second, oldest_us) == admit(kept, second, oldest_us)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(-1, 5)), max_size=40))
def test_events_of_a_group_stand_together_in_the_order_given(drawn: list[tuple[int, int]]) -> None:
    rows = sorted(range(len(drawn)), key=lambda row: drawn[row][0])
    codes = [code for _, code in drawn]
    order = np.empty(len(rows), dtype=np.int64)
    ends = query_kernels.grouped(np.array(rows, dtype=np.int64), np.array(codes, dtype=np.int32), 6, order)
    assert order.tolist() == sorted(rows, key=lambda row: 6 if codes[row] < 0 else codes[row])
    assert ends.tolist() == [sum(0 <= code <= group for code in codes) for group in range(6)] + [len(codes)]


@given(
    keys=st.lists(st.sampled_from([0, 1, 2, 7, -(2**63), 2**63 - 1]), max_size=20),
    asked=st.lists(st.sampled_from([0, 1, 3, 7, -(2**63), 2**63 - 1]), max_size=20),
)
def test_keys_are_numbered_however_far_apart(keys: list[int], asked: list[int]) -> None:
    codes, found, number = number_keys(np.array(keys, dtype=np.int64), np.array(asked, dtype=np.int64))
    numbers = {key: len({*keys[: keys.index(key)]}) for key in keys}
    assert codes.tolist() == [numbers[key] for key in keys]
    assert found.tolist() == [numbers.get(key, -1) for key in asked]
    assert number == len(numbers)
