"""Messages of a keyed log read back as written, however large the batch is."""

import numpy as np
import pytest

from headrace.errors import IntegrityError
from streams.logs.keyed_log import EVENTS, LABELS, KeyedBatch, SourceMark, decode_batch, encode_batches

MARKS = (SourceMark(0, 41, 1_000, False), SourceMark(3, -1, -(2**62), True))


def events(n: int, *, text: bool = False) -> KeyedBatch:
    keys = np.arange(n, dtype=np.int64)
    return KeyedBatch(
        kind=EVENTS,
        topic="tx",
        partitions=4,
        marks=MARKS,
        sources=np.arange(n, dtype=np.int32) % 4,
        offsets=np.arange(n) * 3,
        ids=np.arange(n) - 5,
        keys=np.array([f"é{key}" for key in keys], dtype=object) if text else keys,
        times_us=np.arange(n) + 10**15,
        columns={"eur": np.full(n, -(2**63))},
    )


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("n", [0, 1, 20_000])
def test_events_read_back_in_order(n: int, text: bool) -> None:
    batch = events(n, text=text)

    parts = [decode_batch(message) for message in encode_batches(batch)]

    assert np.concatenate([part.keys for part in parts]).tolist() == batch.keys.tolist()
    for name in ("sources", "offsets", "ids", "times_us"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(batch, name))
    np.testing.assert_array_equal(np.concatenate([part.columns["eur"] for part in parts]), batch.columns["eur"])
    assert {part.topic for part in parts} == {"tx"}


def test_only_the_last_message_of_a_batch_says_how_far_it_goes() -> None:
    """Or the rows of the second would count as applied before."""
    messages = list(encode_batches(events(50_000)))

    assert len(messages) > 2
    assert max(map(len, messages)) < 1_000_000
    assert [decode_batch(message).marks for message in messages] == [()] * (len(messages) - 1) + [MARKS]


def test_labels_read_back() -> None:
    batch = KeyedBatch(
        kind=LABELS,
        topic="labels",
        partitions=1,
        marks=MARKS,
        sources=np.zeros(2, dtype=np.int32),
        offsets=np.array([5, 6]),
        ids=np.array([1, 2]),
        columns={"value": np.array([0, 1])},
    )

    again = decode_batch(next(iter(encode_batches(batch))))

    assert again.kind == LABELS
    assert again.columns["value"].tolist() == [0, 1]
    assert len(again.keys) == 0


WHOLE = next(iter(encode_batches(events(40))))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"garbage",
        b"\xff\xff\xff\xff\x00\x00\x00\x00",
        WHOLE[:-8],
        WHOLE + b"\0" * 8,
        b"x" + WHOLE[1:],
        WHOLE.replace(b'"_time"', b'"_tame"'),
        WHOLE.replace(b'"events"', b'"evants"'),
    ],
)
def test_foreign_bytes_are_refused(message: bytes) -> None:
    with pytest.raises(IntegrityError, match="keyed log"):
        decode_batch(message)


def test_another_format_is_named() -> None:
    with pytest.raises(IntegrityError, match="format 3; this version reads 2"):
        decode_batch(b"hrk\3" + WHOLE[4:])


def test_texts_of_any_length_read_back() -> None:
    batch = events(4, text=True)
    batch.keys[:] = ["", "\0", "ü" * 300, "a"]

    assert decode_batch(next(iter(encode_batches(batch)))).keys.tolist() == ["", "\0", "ü" * 300, "a"]


def test_a_column_takes_the_bytes_of_its_range() -> None:
    sizes = [len(next(iter(encode_batches(events(n))))) for n in (200, 201)]

    # Source 1, offset 2, id 1, key 1, time 1, the constant 0; then padding.
    assert sizes[0] < 200 * 6 + 400
    assert sizes[1] - sizes[0] <= 6 * 8
