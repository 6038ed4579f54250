"""From a source topic to keyed logs: events by the hash of an entity, labels to every partition."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import event_ids64
from feature_store.inputs import derive, fields_of
from feature_store.partitioning import key_partitions
from feature_store.plan import NULL, InputPlan, compile_view, to_steps
from feature_store.query_kernels import grouped
from headrace.spec.project import Project
from headrace.spec.streams import EventStream, LabelledStream, LabelStream
from headrace.spec.types import FieldType, Float64, String
from streams.logs.keyed_log import EVENTS, LABELS, VALUE, KeyedBatch, SourceMark
from streams.logs.segment_buffer import SourceRows

__all__ = ["EntityRoute", "LabelRoute", "Route", "event_routes", "label_routes", "no_rows"]

I64 = NDArray[np.int64]
Emit = Callable[[int, KeyedBatch], None]
"""Takes (partition of the keyed log, batch)."""


class Route(Protocol):
    """One keyed log that wants the rows of a source."""

    @property
    def entity(self) -> str:
        """Entity of the keyed log."""

    def split(self, rows: SourceRows, marks: tuple[SourceMark, ...], partitions: int, emit: Emit) -> None:
        """Hand a batch, with marks, to each of the ``partitions`` of the keyed log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRoute:
    """Events of a stream, by the key of an entity."""

    stream: EventStream
    source_partitions: int
    entity: str
    inputs: tuple[InputPlan, ...]
    """Numbers some view of this entity adds up."""

    def split(self, rows: SourceRows, marks: tuple[SourceMark, ...], partitions: int, emit: Emit) -> None:
        keys = rows.columns[self.entity]
        chosen = key_partitions(keys, partitions)
        order = np.empty(len(keys), dtype=np.int64)
        ends = grouped(np.arange(len(keys)), chosen, partitions, order).tolist()
        keys, times_us = keys[order], rows.times_us[order]
        ids = event_ids64(rows.columns[self.stream.id][order])
        sources, offsets = rows.partitions[order], rows.offsets[order]
        schema = self.stream.schema
        fields = {
            name: _exact(rows.columns[name], schema[name], rows.nulls.get(name)) for name in fields_of(self.inputs)
        }
        columns = {entry.name: derive(entry, fields, schema)[order] for entry in self.inputs}
        for partition, (first, last) in enumerate(pairwise([0, *ends[:partitions]])):
            part = slice(first, last)
            emit(
                partition,
                KeyedBatch(
                    kind=EVENTS,
                    topic=self.stream.name,
                    partitions=self.source_partitions,
                    marks=marks,
                    sources=sources[part],
                    offsets=offsets[part],
                    ids=ids[part],
                    keys=keys[part],
                    times_us=times_us[part],
                    columns={name: column[part] for name, column in columns.items()},
                ),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRoute:
    """Labels, to whoever may hold their event."""

    labels: LabelStream
    source_partitions: int
    entity: str

    def split(self, rows: SourceRows, marks: tuple[SourceMark, ...], partitions: int, emit: Emit) -> None:
        batch = KeyedBatch(
            kind=LABELS,
            topic=self.labels.name,
            partitions=self.source_partitions,
            marks=marks,
            sources=rows.partitions,
            offsets=rows.offsets,
            ids=event_ids64(rows.columns[self.labels.of.id]),
            columns={VALUE: rows.columns[self.labels.value].astype(np.int64, copy=False)},
        )
        for partition in range(partitions):
            emit(partition, batch)


def event_routes(project: Project, stream: EventStream, source_partitions: int) -> list[EntityRoute]:
    """The keyed logs of a stream's views."""
    inputs: dict[str, dict[str, InputPlan]] = {}
    for view in project.views:
        if view.events is stream:
            wanted = inputs.setdefault(view.entity, {})
            wanted.update({entry.name: entry for entry in compile_view(view).inputs if not entry.is_label})
    return [
        EntityRoute(
            stream=stream,
            source_partitions=source_partitions,
            entity=entity,
            inputs=tuple(wanted[name] for name in sorted(wanted)),
        )
        for entity, wanted in inputs.items()
    ]


def label_routes(project: Project, labels: LabelStream, source_partitions: int) -> list[LabelRoute]:
    """The keyed logs of the views that look at these labels."""
    entities = {
        view.entity: None
        for view in project.views
        if isinstance(view.source, LabelledStream) and view.source.labels is labels
    }
    return [LabelRoute(labels=labels, source_partitions=source_partitions, entity=entity) for entity in entities]


def _exact(values: NDArray[np.generic], kind: FieldType, null: NDArray[np.bool_] | None) -> NDArray[np.generic]:
    """Field values as whole steps, NULL where missing; texts as they are."""
    if isinstance(kind, String):
        return values.astype(object, copy=False)  # of no rows they are not yet
    if isinstance(kind, Float64):
        return to_steps(values.astype(np.float64, copy=False), kind.scale)
    whole = values.astype(np.int64)
    if null is not None:
        whole[null] = NULL
    return whole


def no_rows(names: Iterable[str]) -> SourceRows:
    """Nothing, for messages that carry marks only."""
    nothing = np.empty(0, dtype=np.int64)
    return SourceRows(
        columns=dict.fromkeys(names, nothing),
        nulls={},
        times_us=nothing,
        partitions=np.empty(0, dtype=np.int32),
        offsets=nothing,
        arrivals_us=nothing,
        late=np.empty(0, dtype=np.bool_),
    )
