"""Where a source task restarts: offsets committed to Kafka, with what must be known there in their metadata."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import TopicPartition

from headrace.errors import IntegrityError
from headrace.kafka_clients import ANSWER_S, patiently, translate, watermarks
from streams.lateness import NO_TIME_US

__all__ = ["SourceCommit", "read_commits", "write_commits"]


@dataclass(kw_only=True)
class SourceCommit:
    """State of one source partition at an offset."""

    partition: int
    offset: int
    """First message that is not covered."""
    newest_us: int = NO_TIME_US
    """Newest event time before it; lateness is decided against it."""
    rows: int = 0
    """Messages accepted before it."""
    dead: dict[str, int] = field(default_factory=dict)
    """Reason -> messages refused before it."""


class _Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    newest_us: int
    rows: int = 0
    dead: dict[str, int] = {}  # msgspec copies defaults


def read_commits(consumer: Any, topic: str, partitions: int, bootstrap: str) -> list[SourceCommit]:
    """The commit of every partition; the beginning of the topic where there is none.

    Raises:
        UnavailableError: the broker does not answer.
        IntegrityError: a commit is not ours, or lies outside the topic.
    """
    places = [TopicPartition(topic, number) for number in range(partitions)]
    stored = patiently(lambda: consumer.committed(places, ANSWER_S), bootstrap)
    commits = []
    for place in stored:
        first, end = watermarks(consumer, topic, place.partition, bootstrap)
        if place.offset < 0:
            commits.append(SourceCommit(partition=place.partition, offset=first))
            continue
        if not first <= place.offset <= end:
            raise IntegrityError(
                f"{topic}:{place.partition} was processed up to offset {place.offset},"
                f" but the topic holds {first} to {end}",
                hint="the topic was made anew or has lost messages; give the project a new name or reset its state",
            )
        try:
            known = msgspec.json.decode(place.metadata or "", type=_Metadata)
        except msgspec.MsgspecError as error:
            raise IntegrityError(
                f"the committed offset of {topic}:{place.partition} is not headrace's: {error}"
            ) from error
        commits.append(
            SourceCommit(
                partition=place.partition,
                offset=place.offset,
                newest_us=known.newest_us,
                rows=known.rows,
                dead=dict(known.dead),
            )
        )
    return commits


def write_commits(consumer: Any, topic: str, commits: Iterable[SourceCommit], bootstrap: str) -> None:
    """Commit; returns once the broker has it.

    Raises:
        UnavailableError: the broker does not answer.
    """
    places = []
    for commit in commits:
        known = _Metadata(newest_us=commit.newest_us, rows=commit.rows, dead=commit.dead)
        text = msgspec.json.encode(known).decode()
        places.append(TopicPartition(topic, commit.partition, commit.offset, metadata=text))
    if not places:
        return
    done = patiently(lambda: consumer.commit(offsets=places, asynchronous=False), bootstrap)
    for place in done:
        if place.error is not None:
            raise translate(place.error, bootstrap)
