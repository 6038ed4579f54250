"""Prediction records as columns.

Shapes: N records, F model inputs, 2 slots (the version that answered first, then the one that scored along).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import event_id64
from headrace.contracts.predictions import PredictionRecord

__all__ = ["NO_VERSION", "PredictionColumns", "PredictionIntake", "VersionTable"]

Array = NDArray[Any]

NO_VERSION = -1
_SOURCES = {"http": 0, "stream": 1}
"""Of two predictions for one event the one a client waited for counts."""


class VersionTable:
    """Model versions as small numbers; order of first sight, kept in the snapshot."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = list(names)
        self._codes = {name: code for code, name in enumerate(self.names)}

    def code(self, name: str) -> int:
        """Number of a version; a new one is added."""
        if name not in self._codes:
            self._codes[name] = len(self.names)
            self.names.append(name)
        return self._codes[name]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionColumns:
    """N predictions."""

    ids: Array
    """int64 digest of the event id."""
    times_us: Array
    """Event time."""
    units: Array
    """int64 digest of the routing unit."""
    epochs: Array
    """Epoch of the rollout record that routed it."""
    sources: Array
    versions: Array
    """(N, 2) int32 codes of a VersionTable."""
    scores: Array
    """(N, 2) float64; NaN where a version failed."""
    features: Array
    """(N, F) float64; NaN for null."""
    absent: Array
    """(N, F) bool: the record does not carry the input at all."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: Array) -> "PredictionColumns":
        """Rows by mask or by index."""
        return PredictionColumns(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def score_of(self, version: int) -> tuple[Array, Array]:
        """Scores of one version and whether it was asked at all; a score is NaN where it failed or was not asked."""
        asked = self.versions == version
        scores = np.where(asked[:, 0], self.scores[:, 0], np.where(asked[:, 1], self.scores[:, 1], np.nan))
        return scores, asked.any(axis=1)

    def one_per_event(self) -> "PredictionColumns":
        """Sorted by (event time, id), each event once, whatever order and however often they came."""
        order = np.lexsort((self.sources, self.ids, self.times_us))
        first = np.ones(len(order), np.bool_)
        first[1:] = (np.diff(self.ids[order]) != 0) | (np.diff(self.times_us[order]) != 0)
        return self.take(order[first])

    @staticmethod
    def concatenate(parts: Sequence["PredictionColumns"], inputs: int) -> "PredictionColumns":
        """All rows in one; ``inputs`` is F, for when there are none."""
        if not parts:
            return PredictionIntake((), VersionTable(), inputs=inputs).drain()
        names = [field.name for field in fields(PredictionColumns)]
        return PredictionColumns(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def arrays(self) -> dict[str, Array]:
        """For a snapshot; ``PredictionColumns(**arrays)`` restores it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class PredictionIntake:
    """Collects records one by one and gives them back as columns.

    Args:
        names: model inputs in order.
        table: numbers the versions.
        inputs: F, when names are not given.
    """

    def __init__(self, names: Sequence[str], table: VersionTable, *, inputs: int | None = None) -> None:
        self._names, self._table = tuple(names), table
        self._width = len(self._names) if inputs is None else inputs
        self._numbers: list[tuple[int, int, int, int, int]] = []
        self._versions: list[tuple[int, int]] = []
        self._scores: list[tuple[float, float]] = []
        self._features: list[list[float]] = []
        self._absent: list[list[bool]] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, record: PredictionRecord) -> None:
        """Take one record."""
        source = _SOURCES.get(record.source, len(_SOURCES))
        self._numbers.append(
            (event_id64(record.event_id), record.event_us, event_id64(record.unit), record.epoch, source)
        )
        slots = _slots(record)
        self._versions.append(tuple(self._table.code(name) if name else NO_VERSION for name in slots))  # type: ignore[arg-type]  # always two
        self._scores.append(tuple(_number(record.scores.get(name)) for name in slots))  # type: ignore[arg-type]  # always two
        self._features.append([_number(record.features.get(name)) for name in self._names])
        self._absent.append([name not in record.features for name in self._names])

    def drain(self) -> PredictionColumns:
        """Everything taken since the last time."""
        count = len(self._numbers)
        numbers = np.array(self._numbers, np.int64).reshape(count, 5)
        columns = PredictionColumns(
            ids=numbers[:, 0],
            times_us=numbers[:, 1],
            units=numbers[:, 2],
            epochs=numbers[:, 3],
            sources=numbers[:, 4].astype(np.int8),
            versions=np.array(self._versions, np.int32).reshape(count, 2),
            scores=np.array(self._scores, np.float64).reshape(count, 2),
            features=np.array(self._features, np.float64).reshape(count, self._width),
            absent=np.array(self._absent, np.bool_).reshape(count, self._width),
        )
        for column in (self._numbers, self._versions, self._scores, self._features, self._absent):
            column.clear()
        return columns


def _slots(record: PredictionRecord) -> tuple[str, str]:
    """The version that answered and the other one."""
    others = [name for name in record.scores if name != record.served_version]
    return record.served_version, others[0] if others else ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
