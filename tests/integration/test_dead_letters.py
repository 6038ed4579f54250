"""Dead letters on a real broker: whatever a producer got in comes out again, with its reason."""

from collections.abc import Callable

import pytest

from headrace.config import Settings
from headrace.contracts.topics import dead_letters
from headrace.kafka_clients import ensure_topics
from headrace.kafka_sender import Sender
from streams.logs.dead_letters import DeadLetter, DeadLetters, read_dead_letters


@pytest.mark.parametrize(
    ("value_bytes", "key_bytes", "detail", "kept"),
    [
        (900_000, 8, "as large as is kept whole", None),
        (999_950, 8, "the largest of a client that was told nothing", 999_950),
        (8_388_000, 100_000, "\N{SNOWMAN}" * 70_000, 8_388_000),
    ],
)
def test_a_message_of_any_size_becomes_one_that_a_broker_takes(
    value_bytes: int, key_bytes: int, detail: str, kept: int | None, stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    topic = fresh_name("large")
    ensure_topics(stack, [dead_letters(topic)])
    sent = DeadLetter(
        topic=topic,
        partition=3,
        offset=77,
        reason="too_large",
        detail=detail,
        key=b"k" * key_bytes,
        value=b"v" * value_bytes,
    )
    sender = Sender(stack)

    DeadLetters(sender).send(sent)
    sender.flush()

    (found,) = read_dead_letters(stack, topic)
    assert (found.topic, found.partition, found.offset, found.reason) == (topic, 3, 77, "too_large")
    assert found.value_bytes == kept
    assert len(found.value or b"") == min(value_bytes, 900_000)
    assert sent.detail.startswith(found.detail)
    assert found.detail
