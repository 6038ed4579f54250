"""Depth of JSON is found without recursing, and is that of the value."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.json_depth import is_deeper
from headrace.spec.types import Int64
from streams.formats.message_check import Refused, check_message

VALUES = st.recursive(
    st.none() | st.integers() | st.text('[]{}"\\,:é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\', max_size=3), inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    """Slowly."""
    if isinstance(value, dict | list):
        return 1 + max((depth_of(each) for each in (value.values() if isinstance(value, dict) else value)), default=0)
    return 0


@given(value=VALUES, most=st.integers(0, 6), indent=st.sampled_from([None, 1]))
def test_it_is_the_depth_of_the_value(value: Any, most: int, indent: int | None) -> None:
    data = json.dumps(value, indent=indent, ensure_ascii=False).encode()

    assert is_deeper(data, most) == (depth_of(value) > most)


@given(data=st.text('[]{}"\\,:1 ', max_size=40).map(str.encode), most=st.integers(0, 3))
def test_what_a_decoder_takes_is_no_deeper_than_was_found(data: bytes, most: int) -> None:
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return

    assert is_deeper(data, most) == (depth_of(value) > most)


@pytest.mark.parametrize(("deep", "reason"), [(60, "unknown_field"), (65, "too_large"), (10_000, "too_large")])
def test_how_deep_python_recurses_decides_nothing_about_an_event(deep: int, reason: str) -> None:
    message = b'{"a":' + b"[" * (deep - 1) + b"]" * (deep - 1) + b"}"

    with pytest.raises(Refused) as refused:
        check_message(message, {"id": Int64()}, None)

    assert refused.value.reason == reason
