"""Where a source task restarts: offsets committed to Kafka, with what must be known there in their metadata."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from confluent_kafka import TopicPartition

from headrace.errors import IntegrityError
from headrace.kafka_clients import ANSWER_S, patiently, watermarks
from streams.logs.keyed_log import NO_TIME_US
from streams.messages.message_runs import Place
from streams.ownership.claims import Claim, next_epoch, store
from streams.ownership.tenures import Tenures

__all__ = ["SourceCommit", "claim_sources", "copy_of", "read_commits", "write_commits"]


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
    epoch: int = 0
    """Of the owner that wrote it, see streams.ownership.claims."""
    released_us: int = 0
    """Wall clock at which its owner gave it up; 0 while it is owned, or was never given up."""
    tenures: Tenures = field(default_factory=Tenures)
    """Who owned the partition, by which the segments of each are told apart."""


class _Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    newest_us: int
    rows: int = 0
    dead: dict[str, int] = {}  # msgspec copies defaults
    epoch: int = 0
    released_us: int = 0
    owners: tuple[tuple[int, int], ...] = ()


def copy_of(commit: SourceCommit) -> SourceCommit:
    """The same, in memory of its own."""
    return replace(commit, dead=dict(commit.dead))


def read_commits(consumer: Any, places: Collection[Place], bootstrap: str) -> dict[Place, SourceCommit]:
    """The commit of each partition; the beginning of the topic where there is none.

    Raises:
        UnavailableError: the broker does not answer.
        IntegrityError: a commit is not ours, or lies outside the topic.
    """
    asked = [TopicPartition(*place) for place in sorted(places)]
    stored = patiently(lambda: consumer.committed(asked, ANSWER_S), bootstrap)
    commits = {}
    for place in stored:
        first, end = watermarks(consumer, place.topic, place.partition, bootstrap)
        if place.offset < 0:
            commits[place.topic, place.partition] = SourceCommit(partition=place.partition, offset=first)
            continue
        if not first <= place.offset <= end:
            raise IntegrityError(
                f"{place.topic}:{place.partition} was processed up to offset {place.offset},"
                f" but the topic holds {first} to {end}",
                hint="the topic was made anew or has lost messages; give the project a new name or reset its state",
            )
        try:
            known = msgspec.json.decode(place.metadata or "", type=_Metadata)
        except msgspec.MsgspecError as error:
            raise IntegrityError(
                f"the committed offset of {place.topic}:{place.partition} is not headrace's: {error}"
            ) from error
        commits[place.topic, place.partition] = SourceCommit(
            partition=place.partition,
            offset=place.offset,
            newest_us=known.newest_us,
            rows=known.rows,
            dead=dict(known.dead),
            epoch=known.epoch,
            released_us=known.released_us,
            tenures=Tenures.of(known.owners),
        )
    return commits


def claim_sources(
    consumer: Any, places: Collection[Place], bootstrap: str, now_us: Callable[[], int]
) -> dict[Place, tuple[SourceCommit, Claim]]:
    """Become the owner of these partitions: their commits under a new epoch, at the offset where they were left.

    Raises:
        NotMemberError: the group has given them to somebody else meanwhile.
        UnavailableError: the broker does not answer.
        IntegrityError: a commit is not ours, or lies outside the topic.
    """
    found = read_commits(consumer, places, bootstrap)
    claimed = {}
    for place, commit in found.items():
        epoch, released_us = next_epoch(commit.epoch, now_us()), commit.released_us
        tenures = commit.tenures.followed_by(epoch, commit.offset)
        owned = replace(commit, epoch=epoch, released_us=0, tenures=tenures)
        claimed[place] = owned, Claim(epoch=epoch, released_us=released_us)
    write_commits(consumer, {place: commit for place, (commit, _) in claimed.items()}.items(), bootstrap)
    return claimed


def write_commits(consumer: Any, commits: Iterable[tuple[Place, SourceCommit]], bootstrap: str) -> None:
    """Commit; returns once the broker has it.

    Raises:
        NotMemberError: the consumer is no member of its group any more, or the group is about to change.
        UnavailableError: the broker does not answer.
    """
    store(consumer, [_stored(topic, commit) for (topic, _), commit in commits], bootstrap)


def _stored(topic: str, commit: SourceCommit) -> TopicPartition:
    known = _Metadata(
        newest_us=commit.newest_us,
        rows=commit.rows,
        dead=commit.dead,
        epoch=commit.epoch,
        released_us=commit.released_us,
        owners=commit.tenures.every,
    )
    return TopicPartition(topic, commit.partition, commit.offset, metadata=msgspec.json.encode(known).decode())
