"""Sufficient statistics of a rollout: the version on trial beside the one it is to replace, on the same events.

The version on trial is the challenger of shadow and canary, and still the same one in probation, where the record
names it champion: signs never turn around within one rollout. Everything is counted by routing unit and base window,
because a unit is routed as one and its events are not independent.

    total           every event both versions scored, since the rollout began
    stage_served    of the newest record only: events the version on trial answered
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.monitoring import ArmEvidence, RolloutEvidence
from headrace.contracts.rollout import RolloutRecord, Stage
from monitors.label_join import Waiting
from monitors.rows import PredictionColumns, VersionTable
from monitors.statistics import clipped_log_loss

__all__ = ["LOSS_CEILING", "EvidenceBook", "version_on_trial"]

Array = NDArray[Any]

LOSS_CEILING = 10.0
"""Log losses are cut here (a probability of 4.5e-5 for what happened), so one score cannot decide a rollout."""


def version_on_trial(record: RolloutRecord) -> tuple[str, str]:
    """The version on trial and the one it is compared with; empty when nothing is on trial."""
    if record.challenger is None or record.stage is Stage.STEADY or not record.rollout_id:
        return "", ""
    if record.stage is Stage.PROBATION:
        return record.champion, record.challenger
    return record.challenger, record.champion


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """Rows of one rollout as two columns of scores."""

    units: Array
    trial: Array
    other: Array
    trial_answered: Array
    trial_failed: Array
    """The version on trial was asked and has no score although the other one has."""
    labels: Array | None


class EvidenceBook:
    """Cumulative evidence by rollout, and by the newest record of each."""

    def __init__(self) -> None:
        self._total: dict[str, ArmEvidence] = {}
        self._served: dict[str, tuple[int, ArmEvidence]] = {}

    def see(
        self,
        rows: PredictionColumns,
        records: Mapping[int, RolloutRecord],
        table: VersionTable,
        thresholds: Mapping[str, float],
    ) -> None:
        """Count the predictions of one base window.

        Args:
            rows: each event once.
            records: rollout record by epoch; rows of an unknown epoch count for no rollout.
            table: numbers of the versions.
            thresholds: version -> score from which an event is flagged.
        """
        for rollout, epochs in _rollouts(rows.epochs, records).items():
            trial, other = version_on_trial(records[epochs[-1]])
            limits = (thresholds.get(trial, np.inf), thresholds.get(other, np.inf))
            total = _pair(rows, epochs, table.code(trial), table.code(other))
            self._total[rollout] = _add(self._total.get(rollout), _seen(total, limits))
            newest = _pair(rows, epochs[-1:], table.code(trial), table.code(other))
            self._add_served(rollout, epochs[-1], _seen(_answered(newest), limits))

    def mature(self, rows: Waiting, records: Mapping[int, RolloutRecord], table: VersionTable) -> None:
        """Count the matured routing units of one base window."""
        for rollout, epochs in _rollouts(rows.epochs, records).items():
            trial, other = version_on_trial(records[epochs[-1]])
            total = _pair(rows, epochs, table.code(trial), table.code(other))
            self._total[rollout] = _add(self._total.get(rollout), _losses(total))
            newest = _pair(rows, epochs[-1:], table.code(trial), table.code(other))
            self._add_served(rollout, epochs[-1], _losses(_answered(newest)))

    def about(self, record: RolloutRecord | None, at_us: int) -> RolloutEvidence | None:
        """What is known about the rollout of a record; None when nothing is on trial."""
        if record is None or not version_on_trial(record)[0]:
            return None
        epoch, served = self._served.get(record.rollout_id, (0, ArmEvidence()))
        return RolloutEvidence(
            model=record.model,
            rollout_id=record.rollout_id,
            epoch=record.epoch,
            stage=record.stage,
            at_us=at_us,
            total=self._total.get(record.rollout_id, ArmEvidence()),
            stage_served=served if epoch == record.epoch else ArmEvidence(),
        )

    def forget_except(self, rollout: str) -> None:
        """Drop ended rollouts."""
        self._total = {name: arm for name, arm in self._total.items() if name == rollout}
        self._served = {name: arm for name, arm in self._served.items() if name == rollout}

    def state(self) -> dict[str, Any]:
        """For a snapshot; plain values."""
        return {
            "total": {name: dataclasses.asdict(arm) for name, arm in self._total.items()},
            "served": {name: [epoch, dataclasses.asdict(arm)] for name, (epoch, arm) in self._served.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up where a snapshot was made."""
        self._total = {name: ArmEvidence(**arm) for name, arm in state["total"].items()}
        self._served = {name: (epoch, ArmEvidence(**arm)) for name, (epoch, arm) in state["served"].items()}

    def _add_served(self, rollout: str, epoch: int, more: ArmEvidence) -> None:
        known, arm = self._served.get(rollout, (epoch, ArmEvidence()))
        if epoch >= known:  # a server that lags behind may still answer by an older record
            self._served[rollout] = (epoch, _add(arm if known == epoch else None, more))


def _rollouts(epochs: Array, records: Mapping[int, RolloutRecord]) -> dict[str, list[int]]:
    """Rollout -> its epochs among the rows, ascending."""
    found: dict[str, list[int]] = {}
    for epoch in np.unique(epochs).tolist():
        record = records.get(epoch)
        if record is not None and version_on_trial(record)[0]:
            found.setdefault(record.rollout_id, []).append(epoch)
    return found


def _pair(rows: PredictionColumns | Waiting, epochs: list[int], trial: int, other: int) -> _Pair:
    inside = np.isin(rows.epochs, epochs)
    versions, scores = rows.versions[inside], rows.scores[inside]
    by_version = []
    for version in (trial, other):
        asked = versions == version
        by_version.append(np.where(asked[:, 0], scores[:, 0], np.where(asked[:, 1], scores[:, 1], np.nan)))
    was_asked = (versions == trial).any(axis=1)
    return _Pair(
        units=rows.units[inside],
        trial=by_version[0],
        other=by_version[1],
        trial_answered=versions[:, 0] == trial,
        trial_failed=was_asked & ~np.isfinite(by_version[0]) & np.isfinite(by_version[1]),
        labels=rows.labels[inside] if isinstance(rows, Waiting) else None,
    )


def _answered(pair: _Pair) -> _Pair:
    chosen = pair.trial_answered
    return _Pair(
        units=pair.units[chosen],
        trial=pair.trial[chosen],
        other=pair.other[chosen],
        trial_answered=chosen[chosen],
        trial_failed=pair.trial_failed[chosen],
        labels=None if pair.labels is None else pair.labels[chosen],
    )


def _seen(pair: _Pair, limits: tuple[float, float]) -> ArmEvidence:
    both = np.isfinite(pair.trial) & np.isfinite(pair.other)
    flagged, flagged_other = pair.trial[both] >= limits[0], pair.other[both] >= limits[1]
    return ArmEvidence(
        units=len(np.unique(pair.units[both])),
        events=int(both.sum()),
        flagged_challenger=int(flagged.sum()),
        flagged_champion=int(flagged_other.sum()),
        flagged_only_challenger=int((flagged & ~flagged_other).sum()),
        flagged_only_champion=int((~flagged & flagged_other).sum()),
        failures=int(pair.trial_failed.sum()),
    )


def _losses(pair: _Pair) -> ArmEvidence:
    """Loss of a unit is the mean over its events; the differences of units are independent."""
    both = np.isfinite(pair.trial) & np.isfinite(pair.other)
    assert pair.labels is not None
    labels = pair.labels[both]
    if not len(labels):
        return ArmEvidence()
    differences = clipped_log_loss(labels, pair.trial[both], ceiling=LOSS_CEILING) - clipped_log_loss(
        labels, pair.other[both], ceiling=LOSS_CEILING
    )
    _, unit_of_row, rows_of_unit = np.unique(pair.units[both], return_inverse=True, return_counts=True)
    by_unit = np.bincount(unit_of_row.reshape(-1), weights=differences) / rows_of_unit
    return ArmEvidence(
        matured_units=len(by_unit),
        matured_events=len(labels),
        matured_positives=int((labels == 1).sum()),
        loss_sum=float(by_unit.sum()),
        loss_sum_sq=float((by_unit**2).sum()),
    )


def _add(known: ArmEvidence | None, more: ArmEvidence) -> ArmEvidence:
    if known is None:
        return more
    names = [field.name for field in dataclasses.fields(ArmEvidence)]
    return ArmEvidence(**{name: getattr(known, name) + getattr(more, name) for name in names})
