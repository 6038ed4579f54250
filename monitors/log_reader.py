"""Reads whole Kafka topics by hand-assigned partitions: offsets are ours, because they belong to our snapshot."""

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from headrace.config import Settings
from headrace.kafka_clients import consumer, partition_counts, take, translate

__all__ = ["LogReader", "Place"]

Place = tuple[str, int]
"""Topic and partition."""
BATCH = 1000
_ANSWER_S = 10.0


class LogReader:
    """Every partition of some topics, from given offsets on.

    Args:
        settings: where the broker is.
        topics: existing topics.
        offsets: next offset of a partition; absent ones are read from their beginning.
        group: client group, named for the broker's operators only.
    """

    def __init__(self, settings: Settings, topics: Sequence[str], offsets: Mapping[Place, int], *, group: str) -> None:
        self._bootstrap = settings.kafka.bootstrap
        self._client = consumer(settings, group, config={"enable.partition.eof": True})
        counts = partition_counts(settings, topics)
        self.places: list[Place] = [(topic, number) for topic, count in counts.items() for number in range(count)]
        self.offsets: dict[Place, int] = {place: offsets.get(place, 0) for place in self.places}
        """Offset after the last message taken, or where reading began."""
        self._at_end: set[Place] = set()
        try:
            self._client.assign([TopicPartition(*place, self.offsets[place]) for place in self.places])
        except KafkaException as error:
            raise translate(error, self._bootstrap) from error

    def read(self, timeout_s: float) -> list[Any]:
        """Next messages of any partition, oldest first within each.

        Raises:
            UnavailableError: the broker refused; one that is merely away is waited for.
        """
        messages = []
        for message in take(self._client, BATCH, timeout_s, self._bootstrap):
            place = (message.topic(), message.partition())
            if message.error() is not None:  # the only one left is the end of a partition
                self._at_end.add(place)
                self.offsets[place] = max(self.offsets[place], message.offset())
                continue
            self._at_end.discard(place)
            self.offsets[place] = message.offset() + 1
            messages.append(message)
        return messages

    def is_at_end(self, place: Place) -> bool:
        """Whether nothing more was there when last looked; something may have come since."""
        return place in self._at_end

    def ends(self, topics: Sequence[str]) -> dict[Place, int]:
        """Offset after the newest message of each partition, asked of the broker now.

        Raises:
            UnavailableError: it does not answer.
        """
        try:
            return {
                place: self._client.get_watermark_offsets(TopicPartition(*place), _ANSWER_S)[1]
                for place in self.places
                if place[0] in topics
            }
        except KafkaException as error:
            raise translate(error, self._bootstrap) from error

    def has_reached(self, ends: Mapping[Place, int]) -> bool:
        """Whether everything up to earlier ``ends`` was taken."""
        return all(self.offsets[place] >= end for place, end in ends.items())

    def close(self) -> None:
        """Leave the broker."""
        self._client.close()
