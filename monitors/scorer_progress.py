"""How far the stream scorer is: it commits an event only after the event's prediction is in the log."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition

from headrace.config import Settings
from headrace.contracts.topics import scorer_group
from headrace.kafka_clients import consumer, translate

__all__ = ["ScorerProgress"]

_ASK_EVERY_S = 0.1
_ANSWER_S = 10.0
PATIENCE_S = 60.0
"""A scorer that commits nothing for so long is not waited for; that its predictions are missing will be seen."""


class ScorerProgress:
    """Asks the broker for the scorer's committed offsets, at most ten times a second.

    Args:
        settings: where the broker is.
        project: name of the project it scores for.
    """

    def __init__(self, settings: Settings, project: str) -> None:
        self._bootstrap = settings.kafka.bootstrap
        self._client = consumer(settings, scorer_group(project))
        self._asked = float("-inf")
        self._moved = time.monotonic()
        self._committed: dict[tuple[str, int], int] = {}

    def has_passed(self, topic: str, offsets: Mapping[int, int]) -> bool | None:
        """Whether everything before ``offsets`` is scored; None when no scorer is at work on the topic.

        Raises:
            UnavailableError: the broker does not answer.
        """
        if time.monotonic() - self._asked > _ASK_EVERY_S:
            self._ask(topic, offsets)
        known = [self._committed.get((topic, partition), -1) for partition in offsets]
        if all(offset < 0 for offset in known):
            return None
        if all(offset >= wanted for offset, wanted in zip(known, offsets.values(), strict=True)):
            return True
        return None if time.monotonic() - self._moved > PATIENCE_S else False

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()

    def _ask(self, topic: str, offsets: Mapping[int, int]) -> None:
        places = [TopicPartition(topic, partition) for partition in offsets]
        try:
            committed = self._client.committed(places, timeout=_ANSWER_S)
        except KafkaException as error:
            raise translate(error, self._bootstrap) from error
        self._asked = time.monotonic()
        found = {(place.topic, place.partition): place.offset for place in committed}
        if any(offset != self._committed.get(place) for place, offset in found.items()):
            self._moved = self._asked
        self._committed |= found
