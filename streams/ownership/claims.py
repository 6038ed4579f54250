"""Who owns a partition: epochs, kept in the metadata of what is committed to Kafka.

    owner A, epoch 7 ── paused ──────────────────────────► wakes: its messages, files and commits say 7
                          owner B reads 7, commits 8 ──► sends, writes, commits as 8; whatever says 7 is refused

A group takes commits of its present members only, so of two workers that claim at once one succeeds. An epoch is larger
than the one before; it is the wall clock where that is larger still, so that epochs go on rising where the broker has
forgotten the commits of a group that nobody used for a week.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from headrace.errors import HeadraceError, IntegrityError
from headrace.kafka_clients import ANSWER_S, patiently, translate
from streams.messages.message_runs import Place

__all__ = ["Claim", "NotMemberError", "claim_views", "next_epoch", "read_epochs", "release_views", "store"]

_GONE = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._FATAL,
}
"""A group that is being rebalanced says some of these to members, too; a moment later it takes their commits."""


class NotMemberError(HeadraceError):
    """The group does not take this worker's commits: it was declared dead, or partitions are moving."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Ownership of one partition."""

    epoch: int
    released_us: int = 0
    """Wall clock at which the former owner gave it up; 0 when it did not."""


class _Metadata(msgspec.Struct, frozen=True):
    """What is read of any commit of ours; a view's holds nothing else."""

    epoch: int = 0
    released_us: int = 0


def next_epoch(before: int, now_us: int) -> int:
    """The epoch of the next owner.

    >>> next_epoch(0, 1_700_000_000_000_000), next_epoch(1_700_000_000_500, 1_700_000_000_000_000)
    (1700000000000, 1700000000501)
    """
    return max(before + 1, now_us // 1000)


def claim_views(
    consumer: Any, places: Collection[Place], bootstrap: str, now_us: Callable[[], int]
) -> dict[Place, Claim]:
    """Become the owner of these partitions of keyed logs.

    Raises:
        NotMemberError: the group has given them to somebody else meanwhile.
        UnavailableError: the broker does not answer.
    """
    found = _read(consumer, places, bootstrap)
    claims = {
        place: Claim(epoch=next_epoch(known.epoch, now_us()), released_us=known.released_us)
        for place, (_, known) in found.items()
    }
    store(consumer, [_stored(place, found[place][0], claim.epoch, 0) for place, claim in claims.items()], bootstrap)
    return claims


def release_views(
    consumer: Any, epochs: dict[Place, int], offsets: dict[Place, int], released_us: int, bootstrap: str
) -> None:
    """Say that everything of these partitions is saved, and since when nothing was done for them.

    Raises:
        NotMemberError: they have another owner already.
        UnavailableError: the broker does not answer.
    """
    store(
        consumer,
        [_stored(place, offsets[place], epoch, released_us) for place, epoch in epochs.items()],
        bootstrap,
    )


def read_epochs(consumer: Any, places: Collection[Place], bootstrap: str) -> dict[Place, int]:
    """Epoch of the present owner of each partition.

    Raises:
        UnavailableError: the broker does not answer.
    """
    return {place: known.epoch for place, (_, known) in _read(consumer, places, bootstrap).items()}


def store(consumer: Any, commits: Sequence[TopicPartition], bootstrap: str) -> None:
    """Commit; returns once the broker has it.

    Raises:
        NotMemberError: the consumer is no member of its group any more, or the group is about to change.
        UnavailableError: the broker does not answer.
    """
    if not commits:
        return
    try:
        done = patiently(lambda: _commit(consumer, commits), bootstrap)
    except _RefusedError as error:
        raise NotMemberError(
            f"Kafka refused the commit of {commits[0].topic}:{commits[0].partition}: {error}"
        ) from error
    for place in done:
        if place.error is not None:
            raise translate(place.error, bootstrap)


class _RefusedError(Exception):
    """The group said no."""


def _commit(consumer: Any, commits: Sequence[TopicPartition]) -> Any:
    try:
        done = consumer.commit(offsets=list(commits), asynchronous=False)
    except KafkaException as error:
        if error.args[0].code() in _GONE:
            raise _RefusedError(error.args[0].str()) from error
        raise
    refused = [place.error for place in done if place.error is not None and place.error.code() in _GONE]
    if refused:
        raise _RefusedError(refused[0].str())
    return done


def _read(consumer: Any, places: Collection[Place], bootstrap: str) -> dict[Place, tuple[int, _Metadata]]:
    """Place -> offset and metadata; 0 and nothing where there is no commit."""
    asked = [TopicPartition(*place) for place in sorted(places)]
    stored = patiently(lambda: consumer.committed(asked, ANSWER_S), bootstrap) if asked else []
    found = {}
    for place in stored:
        try:
            known = msgspec.json.decode(place.metadata or "{}", type=_Metadata)
        except msgspec.MsgspecError as error:
            raise IntegrityError(
                f"the committed offset of {place.topic}:{place.partition} is not headrace's: {error}"
            ) from error
        found[place.topic, place.partition] = max(place.offset, 0), known
    return found


def _stored(place: Place, offset: int, epoch: int, released_us: int) -> TopicPartition:
    text = msgspec.json.encode(_Metadata(epoch=epoch, released_us=released_us)).decode()
    return TopicPartition(*place, offset, metadata=text)
