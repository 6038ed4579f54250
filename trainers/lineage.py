"""What is remembered about a training: where a model came from, in the flat words a tracker stores.

parameters   how it was trained and on how much
metrics      how good it was, by epoch and at the end
tags         from which data and definitions, and what each gate said
"""

import dataclasses
import math

from headrace.contracts.artifacts import DatasetManifest, EvaluationReport, ModelManifest
from headrace.spec.policies import TorchClassifier
from trainers.checkpoint import EpochRecord

__all__ = ["content_of", "gate_tags", "lineage_tags", "metrics_by_epoch", "parameters", "summary_metrics"]


def content_of(manifest: ModelManifest) -> str:
    """What makes two registrations the same: weights and the data they came from."""
    return f"{manifest.weights_sha256}-{manifest.dataset_hash[:16]}"


def parameters(
    manifest: ModelManifest, trainer: TorchClassifier | None, data: DatasetManifest | None
) -> dict[str, str]:
    """Configuration and size of the training."""
    values: dict[str, object] = {"features": len(manifest.features), "seed": manifest.seed}
    if trainer is not None:
        values |= dataclasses.asdict(trainer)
    if data is not None:
        values |= {"dataset_mode": data.mode, "dataset_rows": data.rows, "dataset_positives": data.positives}
    return {name: str(value) for name, value in values.items()}


def summary_metrics(manifest: ModelManifest, report: EvaluationReport | None) -> dict[str, float]:
    """Validation and test quality, and cost; numbers that are not finite are left out."""
    values = {**manifest.metrics, **manifest.cost}
    if report is not None:
        values |= {f"test_{name}": value for name, value in report.candidate.items()}
        values |= {f"champion_{name}": value for name, value in (report.champion or {}).items()}
        values |= {"test_calibration_error": report.calibration_error, "latency_p99_ms": report.latency_p99_ms}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def metrics_by_epoch(history: tuple[EpochRecord, ...]) -> list[tuple[str, float, int]]:
    """(metric, value, epoch) of every epoch."""
    points: list[tuple[str, float, int]] = []
    for record in history:
        points += [("epoch_loss", record.loss, record.epoch)]
        points += [("epoch_validation_loss", record.validation_loss, record.epoch)]
        if record.validation_average_precision is not None:
            points += [("epoch_average_precision", record.validation_average_precision, record.epoch)]
    return points


def lineage_tags(manifest: ModelManifest) -> dict[str, str]:
    """Data set, weights and definitions by digest."""
    return {
        "dataset_id": manifest.dataset_id,
        "dataset_hash": manifest.dataset_hash,
        "weights_sha256": manifest.weights_sha256,
        **{f"definition.{name}": version for name, version in manifest.definitions.items()},
    }


def gate_tags(report: EvaluationReport | None) -> dict[str, str]:
    """What each gate said, and all of them together."""
    if report is None:
        return {}
    said = {f"gate.{gate.gate}": ("passed: " if gate.passed else "refused: ") + gate.detail for gate in report.gates}
    return {**said, "gates": "passed" if report.passed else "refused"}
