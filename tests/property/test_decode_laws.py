"""Laws of decoding: the scanner agrees with the slow path, and no bytes stop it."""

import json
import math

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.contracts.streams import DEAD_LETTER_REASONS
from headrace.spec.types import Bool, Float64, Int64, String
from streams.formats.decode import Decoder
from streams.formats.message_check import Refused
from streams.messages.payloads import Payloads

ARRIVAL_US = 1_600_000_000_000_000
SCHEMA = {
    "id": Int64(),
    "card": String(max_bytes=12),
    "amount": Float64(resolution=0.01),
    "fee": Float64(nullable=True),
    "online": Bool(),
    "tries": Int64(nullable=True),
}
DECODER = Decoder(SCHEMA, time="at", earliest_us=631_152_000_000_000, future_us=3_600_000_000)

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-1000, 1000, places=2).map(float),
)
tokens = st.one_of(
    numbers.map(json.dumps),
    st.sampled_from(
        ["null", "true", "false", "NaN", "-Infinity", "-0", "-0.0", "01", "1.", ".5", "1e5", "1E-400", "{}"]
    ),
    st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.text(max_size=14).map(json.dumps),
    st.text(max_size=14).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.datetimes().map(lambda moment: f'"{moment.isoformat()}Z"'),
    st.from_regex(
        r'"(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]'
        r'(\.[0-9]{1,7})?(Z|[+-][0-2][0-9]:?[0-6][0-9])?"',
        fullmatch=True,
    ),
)
gaps = st.sampled_from(["", "", "", " ", "\n\t"])


@st.composite
def nearly_events(draw: st.DrawFn) -> bytes:
    """Objects with about the right fields, each value right most of the time."""
    right = {
        "id": st.integers(-(2**63), 2**63).map(str),
        "card": st.text(max_size=6).map(json.dumps),
        "amount": numbers.map(json.dumps),
        "fee": st.one_of(st.just("null"), st.floats(-1e6, 1e6).map(json.dumps)),
        "online": st.sampled_from(["true", "false"]),
        "tries": st.one_of(st.just("null"), st.integers(0, 9).map(str)),
        "at": st.one_of(
            st.integers(ARRIVAL_US - 10**15, ARRIVAL_US + 4 * 10**9).map(str),
            st.sampled_from(['"2020-09-13T12:26:40Z"', '"2020-09-13 14:26:39.25+02:00"', '"2020-02-30T00:00:00Z"']),
        ),
    }
    names = draw(st.permutations(list(right))) if draw(st.booleans()) else list(right)
    parts = []
    for name in names:
        kind = draw(st.integers(0, 30))
        if kind == 0:
            continue
        value = draw(tokens) if kind < 4 else draw(right[name])
        parts.append(f'{draw(gaps)}"{name}"{draw(gaps)}:{draw(gaps)}{value}{draw(gaps)}')
        if kind == 4:
            parts.append(f'"{name}":{value}')
        if kind == 5:
            parts.append(f'"{name}x":{value}')
    end = draw(st.sampled_from(["}", "}", "}", "}", "} ", "", "}}", ",}"]))
    return f"{draw(gaps)}{{{','.join(parts)}{end}".encode("utf-8", "surrogatepass")


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def expected(message: bytes) -> dict[str, object] | str:
    """Values of the slow path, or its reason."""
    try:
        return DECODER.check(message, ARRIVAL_US)
    except Refused as refusal:
        return refusal.reason


def decoded(messages: list[bytes]) -> list[dict[str, object] | str]:
    """What the batch decoder makes of each message, in the form of ``expected``."""
    batch = DECODER.decode(Payloads.of(messages), np.full(len(messages), ARRIVAL_US))
    outcome: list[dict[str, object] | str] = [""] * len(messages)
    for refusal in batch.refused:
        outcome[refusal.row] = refusal.reason
    for position, row in enumerate(batch.rows.tolist()):
        values = {}
        for name, column in batch.columns.items():
            null = name in batch.nulls and batch.nulls[name][position]
            values[name] = None if null else column[position].item() if column.dtype != object else column[position]
        outcome[row] = values
    return outcome


def same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return left == right and type(left) is type(right)


@settings(max_examples=300, deadline=None)
@given(st.lists(nearly_events(), min_size=1, max_size=4))
@example([b'{"id":1,"card":"a","amount":0.30000000000000004,"online":true,"at":1500000000000000}'])
@example([b'{"id":-9223372036854775808,"card":"a","amount":1,"online":true,"at":1500000000000000}'])
@example([b'{"id":9223372036854775807,"card":"a","amount":-0.0,"online":true,"at":1500000000000000}'])
@example([b'{"id":1,"card":"\xff","amount":1,"online":true,"at":1500000000000000}'])
def test_the_batch_decoder_gives_what_the_slow_path_gives(messages: list[bytes]) -> None:
    for message, got in zip(messages, decoded(messages), strict=True):
        wanted = expected(message)

        assert same(got, wanted), (message, got, wanted)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), tokens.map(as_bytes)), max_size=4))
@example([b"[" * 60_000, b'{"a":' * 12_000, b"{", b"", b"\xef\xbb\xbf{}", b"\x00", b"1" * 5000])
def test_no_bytes_stop_the_decoder(messages: list[bytes]) -> None:
    outcome = decoded(messages)

    assert all(isinstance(reason, str) and reason in DEAD_LETTER_REASONS for reason in outcome)


@settings(max_examples=100, deadline=None)
@given(nearly_events(), st.integers(0, 3), st.binary(max_size=5))
def test_what_stands_beside_a_message_does_not_change_it(message: bytes, place: int, other: bytes) -> None:
    batch = [other] * 3
    batch.insert(place, message)

    assert same(decoded(batch)[place], expected(message))
