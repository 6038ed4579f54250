"""How long Kafka keeps the messages of topics; for those who must say when something is really gone."""

from collections.abc import Iterable

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from headrace.config import Settings
from headrace.kafka_clients import admin_client, partition_counts, translate
from headrace.spec.durations import format_duration

__all__ = ["topic_retention"]

_ANSWER_S = 10.0


def topic_retention(settings: Settings, topics: Iterable[str]) -> dict[str, str]:
    """Topic -> for how long its messages are kept, in words; topics that do not exist are left out.

    Raises:
        UnavailableError: the broker does not answer.
    """
    known = sorted(partition_counts(settings, list(topics)))
    if not known:
        return {}
    client = admin_client(settings)  # must outlive its answers
    asked = client.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in known], request_timeout=_ANSWER_S
    )
    found = {}
    for resource, answer in asked.items():
        try:
            entries = answer.result()
        except KafkaException as error:
            raise translate(error, settings.kafka.bootstrap) from error
        found[resource.name] = _in_words(entries["cleanup.policy"].value, int(entries["retention.ms"].value))
    return dict(sorted(found.items()))


def _in_words(policy: str, retention_ms: int) -> str:
    """What a broker's settings mean.

    >>> _in_words("delete", 604_800_000), _in_words("delete", -1), _in_words("compact", 1)
    ('7d', 'for ever', 'until a newer message of its key')
    """
    if policy == "compact":
        return "until a newer message of its key"
    return "for ever" if retention_ms < 0 else format_duration(retention_ms * 1000)
