"""Replies of Redis are read the same however they are cut on their way, and nothing else is taken for one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.online.reply_kernels import MALFORMED, gather, read_replies

VALUES = st.none() | st.binary(max_size=40)


def encode(replies: list[list[bytes | None]]) -> bytes:
    return b"".join(
        b"*%d\r\n" % len(reply)
        + b"".join(b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in reply)
        for reply in replies
    )


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 4))
def test_replies_are_read_whole_however_they_are_cut(data: st.DataObject, width: int) -> None:
    replies = data.draw(st.lists(st.lists(VALUES, min_size=width, max_size=width), max_size=6))
    sent = encode(replies) + b"*9"
    came = np.frombuffer(sent, np.uint8)
    spans = np.full((len(replies), width, 2), 77, np.int64)
    at = done = 0
    for size in [*sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8))), len(sent)]:
        before = encode(replies[:done])
        assert at == len(before), "only whole replies are passed"
        at, done = read_replies(came, size, at, done, spans)

    assert (at, done) == (len(sent) - 2, len(replies))
    for reply, found in zip(replies, spans.tolist(), strict=True):
        assert [sent[low:high] for low, high in found] == [value or b"" for value in reply]
    first = data.draw(st.integers(0, width - 1))
    number = data.draw(st.integers(1, width - first))
    ends = np.empty(len(replies), np.int64)
    joined = gather(came, spans, first, number, ends).tobytes()
    expected = [b"".join(value or b"" for value in reply[first : first + number]) for reply in replies]
    assert joined == b"".join(expected)
    assert ends.tolist() == np.cumsum([len(part) for part in expected], dtype=np.int64).tolist()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 3))
def test_anything_else_is_refused_or_waited_for(noise: bytes, width: int) -> None:
    spans = np.zeros((2, width, 2), np.int64)
    at, done = read_replies(np.frombuffer(noise, np.uint8), len(noise), 0, 0, spans)

    assert at == MALFORMED or 0 <= at <= len(noise)
    assert 0 <= done <= 2
    assert (spans >= 0).all()
    assert (spans[:done] <= len(noise)).all()


def test_an_error_message_is_no_reply() -> None:
    message = np.frombuffer(b"*1\r\n$1\r\nx\r\n-WRONGTYPE no hash\r\n", np.uint8)

    assert read_replies(message, len(message), 0, 0, np.zeros((2, 1, 2), np.int64)) == (MALFORMED, 1)
