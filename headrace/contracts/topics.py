"""Every topic headrace makes: name, key, who writes, who reads.

A project's own streams are topics too, under the names given in their definitions.
"""

from dataclasses import dataclass

__all__ = ["CONTROL_TOPICS", "Topic", "dead_letters", "keyed_topic", "scorer_group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    name: str
    key: str
    """What the message key is."""
    value: str
    """Contract of the message value, a class of headrace.contracts or a format."""
    writer: str
    readers: tuple[str, ...]
    compacted: bool = False
    partitions: int | None = None
    """None: the configured number."""


PREDICTIONS = Topic(
    name="headrace.predictions",
    key="routing unit",
    value="contracts.predictions.PredictionRecord",
    writer="serving",
    readers=("monitors", "feature_store.verification.verify"),
)

DRIFT = Topic(
    name="headrace.drift",
    key="model",
    value="contracts.monitoring.WindowReport",
    writer="monitors.app",
    readers=("monitors.agents",),
    partitions=1,
)

ALERTS = Topic(
    name="headrace.alerts",
    key="dedup key",
    value="contracts.monitoring.Incident",
    writer="monitors.agents",
    readers=("monitors.agents", "people"),
    partitions=1,
)

DEPLOYMENTS = Topic(
    name="headrace.deployments",
    key="model",
    value="contracts.rollout.RolloutChange",
    writer="whoever writes a rollout record: workflows, serving's tripwires, the CLI",
    readers=("monitors.agents", "monitors.app", "people"),
    partitions=1,
)

CONTROL_TOPICS = (PREDICTIONS, DRIFT, ALERTS, DEPLOYMENTS)


def keyed_topic(project: str, entity: str) -> Topic:
    """A stream reordered by entity (the shuffle): batches of columns, one total order per key."""
    return Topic(
        name=f"headrace.keyed.{project}.{entity}",
        key="none; the partition is the hash of the entity key",
        value="packed columns, streams.logs.keyed_log",
        writer="streams.sources.source_task",
        readers=("streams.views.view_task",),
    )


def dead_letters(stream: str) -> Topic:
    """Refused messages of a stream: the original bytes, with the reason and origin in the headers."""
    return Topic(
        name=f"headrace.dead-letters.{stream}",
        key="key of the refused message",
        value="original bytes; headers reason, detail, topic, partition, offset",
        writer="streams.sources.source_task",
        readers=("people",),
        partitions=1,
    )


def scorer_group(project: str) -> str:
    """Consumer group of the stream scorer; an offset is committed once the event's prediction is in the log."""
    return f"headrace.score.{project}"
