"""One model under watch: predictions and labels in, one report per window out. No I/O: it can be replayed and tested.

    predictions ──► WindowBuffer ──close──► data checks, distances ─────────────┐
                                  └──► LabelJoin ──mature──► quality, detectors ├──► WindowReport
    labels ────────────────────────────►                └──► EvidenceBook ──────┘

What it needs from outside (references, manifests, rollout records) comes through three functions.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.monitoring import Verdict, WindowReport
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.rollout import RolloutRecord
from headrace.spec.model import Model
from headrace.spec.policies import SlicesHold
from monitors.data_checks import VOLUME_WINDOWS, check_freshness, check_nulls, check_schema, check_volume
from monitors.evidence import EvidenceBook
from monitors.label_join import LabelJoin, Matured, Waiting
from monitors.outcome_watch import OutcomeWatch
from monitors.quality import quartiles, segments_of
from monitors.reference import Reference
from monitors.rows import NO_VERSION, PredictionColumns, PredictionIntake, VersionTable
from monitors.shape_watch import judge_shape
from monitors.thresholds import NullCache
from monitors.windows import ClosedWindow, WindowBuffer

__all__ = ["ModelMonitor", "Outlook", "WindowOutcome"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a monitor asks the outside for."""

    reference: Callable[[str], Reference | None]
    """Reference of a version; None when there is none."""
    threshold: Callable[[str], float | None]
    """Score from which a version flags an event."""
    records: Callable[[Iterable[int]], Mapping[int, RolloutRecord]]
    """Rollout records of the given epochs, as far as they are known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowOutcome:
    """A closed window's report and the inputs it was made from."""

    report: WindowReport
    names: tuple[str, ...]
    inputs: Array
    """(N, F) of the judged rows."""


class ModelMonitor:
    """Statistics of one model, window by window."""

    def __init__(self, model: Model, outlook: Outlook) -> None:
        policy = model.monitors
        self.model, self._policy, self._outlook = model, policy, outlook
        self._names = model.feature_names
        slices = [name for gate in model.gates if isinstance(gate, SlicesHold) for name in gate.columns]
        self._slices = [name for name in dict.fromkeys(slices) if name in self._names]
        self._table = VersionTable()
        self._intake = PredictionIntake(self._names, self._table)
        self.windows = WindowBuffer(window_us=policy.window_us, min_rows=policy.min_rows, inputs=len(self._names))
        self._join = LabelJoin(segments=len(self._slices), window_us=policy.window_us, delay_us=model.label.delay_us)
        self._evidence = EvidenceBook()
        self._outcomes = OutcomeWatch(policy, self._slices)
        self._nulls = NullCache()
        self._volumes: deque[float] = deque(maxlen=VOLUME_WINDOWS)
        self._epoch = 0
        self._version = ""

    def add_prediction(self, record: PredictionRecord) -> None:
        """Take one record of this model."""
        self._intake.add(record)

    def add_label(self, event_id: int, value: int) -> None:
        """Take one outcome; ``event_id`` is the 64-bit id of the event."""
        self._join.add_label(event_id, value)

    def next_end_us(self, reached_us: int) -> int | None:
        """End of the window that event time ``reached_us`` closes next; None when none does."""
        self._settle()
        return self.windows.next_end_us(reached_us)

    def close(self, end_us: int) -> WindowOutcome:
        """Close the window that ends at ``end_us`` and judge it."""
        self._settle()
        closed = self.windows.close(end_us)
        self._epoch = max(self._epoch, int(closed.rows.epochs.max(initial=0)))
        records = self._outlook.records(self._epochs_in_use(closed))
        champion = self._champion(records.get(self._epoch), closed.rows)
        if champion != self._version:
            self._version = champion
            self._outcomes.begin_version()
        reference = self._outlook.reference(champion) if champion else None
        self._count(closed, records, reference)
        matured = self._join.mature(end_us)
        self._count_matured(matured, records)
        code = self._table.code(champion) if champion else NO_VERSION
        quality, outcome_verdicts = self._outcomes.judge(matured, code, reference)
        verdicts = [*self._judge_data(closed, reference), *self._judge_inputs(closed, reference), *outcome_verdicts]
        current = records.get(self._epoch)
        self._evidence.forget_except(current.rollout_id if current is not None else "")
        report = WindowReport(
            model=self.model.name,
            window=closed.number,
            from_us=closed.joined_from_us,
            until_us=end_us,
            rows=len(closed.rows),
            version=champion,
            verdicts=tuple(verdicts),
            quality=quality,
            evidence=self._evidence.about(current, end_us),
        )
        return WindowOutcome(report=report, names=self._names, inputs=closed.joined.features)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Plain values and arrays for a snapshot."""
        self._settle()
        window_numbers, window_arrays = self.windows.state()
        plain = {
            "names": list(self._names),
            "slices": self._slices,
            "versions": self._table.names,
            "windows": window_numbers,
            "evidence": self._evidence.state(),
            "volumes": list(self._volumes),
            "epoch": self._epoch,
            "version": self._version,
        }
        parts = {"windows": window_arrays, "join": self._join.arrays(), "outcomes": self._outcomes.arrays()}
        return plain, {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()}

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take up where a snapshot was made."""
        parts: dict[str, dict[str, Array]] = {"windows": {}, "join": {}, "outcomes": {}}
        for name, array in arrays.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = array
        self._table = VersionTable(plain["versions"])
        self._intake = PredictionIntake(self._names, self._table)
        self.windows.restore(plain["windows"], parts["windows"])
        self._join.restore(parts["join"])
        self._outcomes.restore(parts["outcomes"])
        self._evidence.restore(plain["evidence"])
        self._volumes.extend(plain["volumes"])
        self._epoch, self._version = plain["epoch"], plain["version"]

    def fits(self, plain: Mapping[str, Any]) -> bool:
        """Whether a snapshot is about these inputs; a changed definition starts afresh."""
        return bool(plain["names"] == list(self._names) and plain["slices"] == self._slices)

    def _settle(self) -> None:
        if len(self._intake):
            self.windows.add(self._intake.drain())

    def _epochs_in_use(self, closed: ClosedWindow) -> set[int]:
        return {self._epoch, *np.unique(closed.rows.epochs).tolist(), *np.unique(self._join.waiting.epochs).tolist()}

    def _champion(self, record: RolloutRecord | None, rows: PredictionColumns) -> str:
        if record is not None:
            return record.champion
        # Without the record: the version that answered most.
        answered = rows.versions[:, 0]
        return self._table.names[int(np.bincount(answered).argmax())] if len(answered) else self._version

    def _count(self, closed: ClosedWindow, records: Mapping[int, RolloutRecord], reference: Reference | None) -> None:
        rows = closed.rows
        limits = {name: limit for name in self._table.names if (limit := self._outlook.threshold(name)) is not None}
        self._evidence.see(rows, records, self._table, limits)
        cuts = quartiles(reference.features, self._slices) if reference is not None else {}
        self._join.add_predictions(Waiting.of(rows, segments_of(rows.features, self._names, self._slices, cuts)))

    def _count_matured(self, matured: Matured, records: Mapping[int, RolloutRecord]) -> None:
        bases = matured.whole.times_us // self._policy.window_us
        for base in np.unique(bases).tolist():
            self._evidence.mature(matured.whole.take(bases == base), records, self._table)

    def _judge_data(self, closed: ClosedWindow, reference: Reference | None) -> list[Verdict]:
        rows, policy = closed.rows, self._policy
        verdicts: list[Verdict] = []
        length_us = closed.until_us - closed.from_us
        if closed.nth > 2:  # before, a first trial request would count as the beginning of a silence
            verdicts += check_freshness(closed.silence_us, policy)
            verdicts += check_volume(len(rows), length_us, self._volumes, policy)
        if closed.nth > 1:
            self._volumes.append(len(rows) / length_us)
        if len(rows):
            usual = reference.features.null_rates_C if reference is not None else np.zeros(len(self._names))
            null_rates = (np.isnan(rows.features) & ~rows.absent).mean(axis=0)
            verdicts += check_nulls(self._names, null_rates, usual, len(rows), policy)
            verdicts += check_schema(self._names, rows.absent.mean(axis=0), policy)
        return verdicts

    def _judge_inputs(self, closed: ClosedWindow, reference: Reference | None) -> list[Verdict]:
        if reference is None or len(closed.joined) < self._policy.min_rows:
            return []
        return judge_shape(closed, reference, self._table.code(reference.version), self._nulls, self._policy)
