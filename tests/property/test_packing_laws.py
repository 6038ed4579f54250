"""A packed state comes back as it was, its bytes are those of the readable reference, and a damaged one is seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from feature_store.online.packing_kernels import pack_state, packed_size, read_size, unpack_state
from feature_store.online.state_layout import decode_state, encode_state
from feature_store.plan import MAX_STATE_EVENTS, NULL
from headrace.errors import IntegrityError
from tests.property.test_online_encoder import INT64, times

I64 = NDArray[np.int64]
NARROW = st.integers(0, 300) | st.just(NULL)


@st.composite
def states(draw: st.DrawFn) -> tuple[I64, I64, I64, I64]:
    n, inputs, cells = draw(st.integers(0, 9)), draw(st.integers(0, 3)), draw(st.integers(0, 3))
    columns = []
    for _ in range(1 + inputs):
        numbers = draw(st.sampled_from([INT64, INT64 | st.just(NULL), NARROW, st.just(5), st.just(NULL)]))
        columns.append(draw(st.lists(numbers, min_size=n, max_size=n)))
    base = np.array(draw(st.lists(INT64, min_size=cells, max_size=cells)), np.int64)
    numbers = np.array(columns, np.int64).reshape(1 + inputs, n)
    return draw(times(np.array([0, n]))), numbers[0], numbers[1:], base


def pack(times_us: I64, ids: I64, inputs: I64, base: I64) -> bytes:
    inputs, lows, widths = np.ascontiguousarray(inputs), *np.zeros((2, 3 + len(inputs)), np.int64)
    columns = (times_us.reshape(1, -1), ids.reshape(1, -1), inputs)
    size = packed_size(0, len(times_us), *columns, len(base), lows, widths)
    out = np.full(size + 3, 0xEE, np.uint8)
    end = pack_state(out, 0, 0, len(times_us), *columns, base.reshape(1, -1), 0, lows, widths)
    assert end == size
    return out[:end].tobytes()


def unpack(data: bytes, inputs: int, cells: int) -> tuple[I64, I64, I64, I64] | None:
    octets = np.frombuffer(data, np.uint8)
    words = octets[: len(octets) & ~7].view(np.int64)
    size, n = read_size(octets, words, 0, inputs, cells)
    if size != len(data):
        return None
    at, ids, columns = (np.zeros((rows, n), np.int64) for rows in (1, 1, inputs))
    base = np.zeros((1, cells), np.int64)
    unpack_state(octets, words, 0, 0, 0, base, at, ids, columns)
    return at[0], ids[0], columns, base[0]


@settings(max_examples=400, deadline=None)
@given(states())
def test_a_state_comes_back_and_the_reference_agrees(state: tuple[I64, I64, I64, I64]) -> None:
    data = pack(*state)

    assert data == encode_state(*state)
    assert len(data) <= 8 * (1 + len(state[3])) + 8 * (len(state[0]) + 2) * (2 + len(state[2])) + 8
    for back in (unpack(data, len(state[2]), len(state[3])), decode_state(data, len(state[2]), len(state[3]))):
        assert back is not None
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(state, back, strict=True))


@settings(max_examples=200, deadline=None)
@given(states().filter(lambda state: len(state[0]) > 0), st.data())
def test_a_state_that_was_cut_is_seen(state: tuple[I64, I64, I64, I64], data: st.DataObject) -> None:
    whole = pack(*state)
    words = data.draw(st.integers(1, len(whole) // 8 - 1))

    assert unpack(whole[: 8 * words], len(state[2]), len(state[3])) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=8, max_size=80), st.integers(0, 3), st.integers(0, 3))
def test_noise_is_no_state_or_a_small_one(noise: bytes, inputs: int, cells: int) -> None:
    back = unpack(noise[: len(noise) & ~7], inputs, cells)

    assert back is None or len(back[0]) <= MAX_STATE_EVENTS


def test_events_of_whole_seconds_with_ids_in_sequence_take_nine_bytes() -> None:
    n = 64
    seconds = np.cumsum(np.full(n, 40_000)) * 1_000_000
    amounts = np.arange(n).reshape(1, n) * 2_000

    size = len(encode_state(seconds, 1_000_000 + np.arange(n) * 26_000, amounts, np.empty(0, np.int64)))

    assert size - len(encode_state(seconds[:0], seconds[:0], amounts[:, :0], np.empty(0, np.int64))) == 8 + 24 + 9 * n


def test_the_reference_refuses_a_state_that_was_cut() -> None:
    whole = encode_state(np.arange(4), np.arange(4), np.ones((1, 4), np.int64), np.empty(0, np.int64))

    with pytest.raises(IntegrityError, match="cut off"):
        decode_state(whole[:-8], 1, 0)
