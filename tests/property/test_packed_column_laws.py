"""What is packed comes back, at every width and at the edges of 64 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.logs.packed_columns import pack, unpack

whole = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 300),
    st.sampled_from([-(2**63), -(2**63) + 1, -1, 0, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**63 - 1]),
)


@given(st.lists(whole, max_size=40), st.lists(st.text(max_size=5), max_size=40))
def test_columns_read_back(numbers: list[int], texts: list[str]) -> None:
    rows = min(len(numbers), len(texts))
    values = np.array(numbers[:rows], dtype=np.int64)
    words = np.array([*texts[:rows], None], dtype=object)[:-1]

    described, body = pack({"numbers": values, "words": words, "again": values})
    found = unpack(described, rows, memoryview(body))

    assert found["numbers"].dtype == np.int64
    assert found["numbers"].tolist() == numbers[:rows]
    assert found["words"].tolist() == texts[:rows]
    assert found["again"].tolist() == numbers[:rows]


@given(st.lists(whole, min_size=1, max_size=40))
def test_a_column_is_what_lies_above_its_smallest_value(numbers: list[int]) -> None:
    """The format itself, said once more in numpy: logs written before must be read after."""
    (column,), body = pack({"numbers": np.array(numbers, dtype=np.int64)})

    low, span = min(numbers), max(numbers) - min(numbers)
    width = next(width for width in (0, 1, 2, 4, 8) if span < 1 << 8 * width)
    above = b"".join((number - low).to_bytes(width, "little") for number in numbers)
    assert (column.base, column.width) == (low, width)
    assert body == above + b"\0" * (-len(above) % 8)


@given(st.lists(whole, min_size=1, max_size=40), st.integers(1, 400))
def test_a_cut_body_is_refused(numbers: list[int], cut: int) -> None:
    described, body = pack({"numbers": np.array(numbers, dtype=np.int64)})

    if body:
        with pytest.raises(ValueError, match="message"):
            unpack(described, len(numbers), memoryview(body[: max(0, len(body) - cut)]))
