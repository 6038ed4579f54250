"""Model inputs of requests: view rows, request features and event fields, by name, in the model's order.

Shapes: ``n`` events, ``F`` inputs of the model.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from feature_store.derived import derive_columns
from headrace.spec.features import DerivedFeatures, RequestFeatures
from headrace.spec.model import Model
from headrace.spec.streams import EventStream
from headrace.spec.types import Bool, Int64, String
from serving.request_event import RequestEvent

__all__ = ["FeatureMatrix", "FeatureRow", "ViewRows"]


class FeatureRow(Protocol):
    """What a lookup answers for one view of one event."""

    @property
    def status(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float | int | list[float | int] | None]: ...
    @property
    def version(self) -> int | None: ...
    @property
    def watermark_us(self) -> int | None: ...
    @property
    def own_event(self) -> str: ...


ViewRows = Mapping[str, FeatureRow]
"""View name -> row, for one event."""


class FeatureMatrix:
    """Puts the inputs of one model together; null is NaN."""

    def __init__(self, model: Model) -> None:
        self.names = model.feature_names
        self._stream = model.events
        column = {name: number for number, name in enumerate(self.names)}
        self._views = tuple(
            (
                view.name,
                tuple((column[full], name) for full, name in zip(view.full_names, view.feature_names, strict=True)),
            )
            for view in model.views
            if view in model.features
        )
        self._requests = tuple(
            (
                item.fn,
                tuple((column[full], name) for full, name in zip(item.full_names, item.feature_names, strict=True)),
            )
            for item in model.requests
            if item in model.features
        )
        self._derived = tuple((item, tuple(column[full] for full in item.full_names)) for item in model.derived)
        self._fields = tuple((column[item], item) for item in model.features if isinstance(item, str))

    def fill(self, events: Sequence[RequestEvent], rows: Sequence[ViewRows]) -> npt.NDArray[np.float64]:
        """(n, F) inputs, one row per event; ``rows`` are the lookups of the same events."""
        matrix = np.full((len(events), len(self.names)), np.nan)
        for line, event, found in zip(matrix, events, rows, strict=True):
            for view, columns in self._views:
                values = found[view].values
                for number, name in columns:
                    value = values[name]
                    if value is not None:
                        line[number] = value
            for number, name in self._fields:
                value = event.fields[name]
                if value is not None:
                    line[number] = value
        given = event_columns(self._stream, events) if self._requests or self._derived else {}
        if self._requests:
            for fn, columns in self._requests:
                made = fn(given)
                for number, name in columns:
                    matrix[:, number] = made[name]
        for derived, numbers in self._derived:
            made_of = derive_columns(derived, _known(derived, given, rows))
            matrix[:, numbers] = np.column_stack(list(made_of.values()))
        return matrix


def _known(
    derived: DerivedFeatures, given: Mapping[str, npt.NDArray[Any]], rows: Sequence[ViewRows]
) -> dict[str, npt.NDArray[np.float64]]:
    """What a derived feature is computed of, by full name."""
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for item in derived.of:
        if isinstance(item, RequestFeatures):
            made = item.fn(given)
            for full, name in zip(item.full_names, item.feature_names, strict=True):
                columns[full] = np.broadcast_to(np.asarray(made[name], np.float64), len(rows))
            continue
        for full, feature in zip(item.full_names, item.features, strict=True):
            values = [row[item.name].values[feature.name] for row in rows]
            columns[full] = np.full((len(rows), feature.width), np.nan)
            for line, value in zip(columns[full], values, strict=True):
                items = value if isinstance(value, list) else [] if value is None else [value]
                line[: len(items)] = items
            if not feature.is_list:
                columns[full] = columns[full][:, 0]
    return columns


def event_columns(stream: EventStream, events: Sequence[RequestEvent]) -> dict[str, npt.NDArray[Any]]:
    """The events' fields as the arrays request features are written for; time is int64 microseconds."""
    columns: dict[str, npt.NDArray[Any]] = {stream.time: np.array([event.time_us for event in events], np.int64)}
    for name, kind in stream.schema.items():
        values = [event.fields[name] for event in events]
        if isinstance(kind, String):
            columns[name] = np.array(values, object)
        elif None in values:
            columns[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        elif isinstance(kind, Int64):
            columns[name] = np.array(values, np.int64)
        else:
            columns[name] = np.array(values, np.bool_ if isinstance(kind, Bool) else np.float64)
    return columns
