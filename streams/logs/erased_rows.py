"""Rows of erased subjects on their way through the stream: a replay of Kafka does not bring them back."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import event_ids64
from feature_store.upkeep.erased import ErasedSubjects
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelStream
from streams.logs.keyed_log import EVENTS, KeyedBatch
from streams.logs.segment_buffer import SourceRows

__all__ = ["ErasedBatches", "ErasedMessages"]

Mask = NDArray[np.bool_]


class ErasedMessages:
    """Finds messages of erased subjects in one source topic.

    Args:
        erased: the register.
        topic: definition of the topic.
    """

    def __init__(self, erased: ErasedSubjects, topic: EventStream | LabelStream) -> None:
        self._erased = erased
        self._stream = topic if isinstance(topic, EventStream) else topic.of
        fields = topic.schema if isinstance(topic, EventStream) else ()
        self._entities = [entity for entity in erased.entities if entity in fields]
        self._is_events = isinstance(topic, EventStream)

    def find(self, rows: SourceRows) -> Mask:
        """Which rows must go nowhere; new events of a subject are noted, so that their labels go nowhere either."""
        if not self._erased.entities:
            return np.zeros(len(rows), dtype=np.bool_)
        # The event of a label may be another worker's.
        self._erased.refresh()
        ids = event_ids64(rows.columns[self._stream.id])
        gone = self._erased.has_events(self._stream.name, ids)
        if self._is_events:
            for entity in self._entities:
                gone |= self._erased.has_keys(entity, rows.columns[entity])
            if gone.any():
                self._erased.add_events(self._stream.name, ids[gone])
        return gone

    def save(self) -> None:
        """Make what was noted durable; comes before the offsets of these rows are committed."""
        self._erased.save()


class ErasedBatches:
    """Takes rows of erased subjects out of what keyed logs still hold.

    Args:
        erased: the register.
        project: whose keyed logs.
    """

    def __init__(self, erased: ErasedSubjects, project: Project) -> None:
        self._erased = erased
        self._stream_of = {labels.name: labels.of.name for labels in project.labels}

    def without(self, batch: KeyedBatch, entity: str) -> KeyedBatch:
        """The batch without them; its marks stay, so nobody waits.

        Args:
            batch: of the keyed log of an entity.
            entity: which one.
        """
        if not len(batch) or not self._erased.entities:
            return batch
        self._erased.refresh()
        gone = self._erased.has_events(self._stream_of.get(batch.topic, batch.topic), batch.ids)
        if batch.kind == EVENTS:
            gone |= self._erased.has_keys(entity, batch.keys)
        if not gone.any():
            return batch
        kept = ~gone
        return replace(
            batch,
            sources=batch.sources[kept],
            offsets=batch.offsets[kept],
            ids=batch.ids[kept],
            keys=batch.keys[kept] if batch.kind == EVENTS else batch.keys,
            times_us=batch.times_us[kept] if batch.kind == EVENTS else batch.times_us,
            columns={name: column[kept] for name, column in batch.columns.items()},
        )
