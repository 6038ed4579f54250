"""Refused messages: kept with their bytes, their origin and the reason.

A dead letter is its message and headers, so that of the largest message a broker takes would be one it does not take.
What is larger than brokers take unless told otherwise is cut; the whole message stands at its origin, which is named.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.config import Settings
from headrace.contracts.topics import dead_letters
from headrace.kafka_clients import partition_counts, read_topic
from headrace.kafka_sender import Sender

__all__ = ["DeadLetter", "DeadLetters", "read_dead_letters", "read_originals"]

_VALUE_BYTES, _KEY_BYTES, _DETAIL_CHARACTERS = 900_000, 50_000, 2_000
"""Most that is kept; brokers take messages of 1,048,588 bytes, and this client those of 1,000,000."""
_CUT = "value_bytes"
"""Header with the bytes the value had, when it was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A refused message as it stands in the dead-letter topic."""

    topic: str
    partition: int
    offset: int
    reason: str
    """One of contracts.streams.DEAD_LETTER_REASONS."""
    detail: str
    key: bytes | None
    value: bytes | None
    value_bytes: int | None = None
    """Bytes the value had, of one that was cut; None of one that is whole."""


class DeadLetters:
    """Writes the dead letters of source topics."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def send(self, letter: DeadLetter) -> None:
        """Queue one; it is safe after the sender's next flush."""
        headers = {
            "reason": letter.reason,
            "detail": letter.detail[:_DETAIL_CHARACTERS],
            "topic": letter.topic,
            "partition": str(letter.partition),
            "offset": str(letter.offset),
        }
        key, value = letter.key, letter.value
        if value is not None and len(value) > _VALUE_BYTES:
            value, headers[_CUT] = value[:_VALUE_BYTES], str(len(value))
        if key is not None:
            key = key[:_KEY_BYTES]
        self._sender.send(dead_letters(letter.topic).name, value, key=key, headers=headers)


def read_dead_letters(settings: Settings, topic: str) -> Iterator[DeadLetter]:
    """Dead letters of a source topic, each once: a worker that was killed may have sent some twice."""
    name = dead_letters(topic).name
    seen: set[tuple[str, int, int, str]] = set()
    if not partition_counts(settings, [name]):
        return
    for message in read_topic(settings, name):
        headers = {key: value.decode("utf-8", "replace") for key, value in message.headers() or ()}
        letter = DeadLetter(
            topic=headers["topic"],
            partition=int(headers["partition"]),
            offset=int(headers["offset"]),
            reason=headers["reason"],
            detail=headers["detail"],
            key=message.key(),
            value=message.value(),
            value_bytes=int(headers[_CUT]) if _CUT in headers else None,
        )
        place = (letter.topic, letter.partition, letter.offset, letter.reason)
        if place not in seen:
            seen.add(place)
            yield letter


def read_originals(
    settings: Settings, topic: str, wanted: set[tuple[int, int]]
) -> dict[tuple[int, int], tuple[bytes | None, bytes | None]]:
    """Key and value of messages by (partition, offset), read again from their topic."""
    found: dict[tuple[int, int], tuple[bytes | None, bytes | None]] = {}
    for partition in sorted({number for number, _ in wanted}):
        offsets = {offset for number, offset in wanted if number == partition}
        for message in read_topic(settings, topic, start={partition: min(offsets)}, only={partition}):
            if message.offset() in offsets:
                found[partition, message.offset()] = (message.key(), message.value())
            if message.offset() >= max(offsets):
                break
    return found
