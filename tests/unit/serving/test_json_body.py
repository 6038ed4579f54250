"""What strangers send as JSON: fields once, texts whole, and words that fit what is wrong."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.json_body import count_members, read_json
from serving.http.request_error import RequestError

TWICE = [
    (b'{"a": 1, "a": 2}', "a"),
    (b'{"a": 1, "\\u0061": 1}', "a"),
    (b'{"e": [{"b": 1}, {"c:": ":", "b": {"d": 1, "d": 1}}]}', "d"),
    (b'{"": 1, "x": "\\":", "": 2}', ""),
    (b'{"n": ' + b"1" * 18 + b', "n": 1.5, "m": "\\\\"}', "n"),
    (b'{"%b": 1, "%b": 2}' % (b"x" * 500, b"x" * 500), "x" * 80),
]


@pytest.mark.parametrize(("body", "field"), TWICE)
def test_a_field_that_stands_there_twice_is_named(body: bytes, field: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_json(body, max_depth=8)

    assert (refused.value.field, refused.value.message, refused.value.status) == (field, "stands there twice", 400)


VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.text('{}":,\\é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a":\\{', max_size=3), inner, max_size=3),
    max_leaves=12,
)


def members_of(value: Any) -> int:
    """Slowly."""
    if isinstance(value, dict):
        return len(value) + sum(map(members_of, value.values()))
    return sum(map(members_of, value)) if isinstance(value, list) else 0


@given(value=VALUES, indent=st.sampled_from([None, 1]), is_ascii=st.booleans())
def test_fields_are_counted_as_they_are_written(value: Any, indent: int | None, is_ascii: bool) -> None:
    body = json.dumps(value, indent=indent, ensure_ascii=is_ascii).encode()

    assert count_members(body) == members_of(value)
    assert read_json(body, max_depth=64) == msgspec.json.decode(body)


@pytest.mark.parametrize("text", ["\\ud83d", "\\ud83dabc", "\\ude00", "\\ud83d\\u0041", "\\ud83d\\ud83d"])
def test_half_a_surrogate_pair_is_called_that(text: str) -> None:
    with pytest.raises(RequestError, match="half a surrogate pair"):
        read_json(f'{{"card": ["{text}"], "n": {"1" * 5_000}}}'.encode(), max_depth=8)
    assert read_json(b'"\\ud83d\\ude00"', max_depth=8) == "😀"


@pytest.mark.parametrize("body", [b'{"a": "\\u0061"', b'"\\ud83d', b'{"\\u12"}'])
def test_what_is_cut_is_not_called_half_a_pair(body: bytes) -> None:
    with pytest.raises(RequestError) as refused:
        read_json(body, max_depth=8)

    assert "surrogate" not in refused.value.message
