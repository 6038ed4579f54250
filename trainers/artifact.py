"""Writing a trained model in the form serving reads (:mod:`headrace.artifact_format`)."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, InputScaling, LoadedModel
from headrace.contracts.artifacts import ModelManifest
from headrace.dataset_format import DatasetRows
from headrace.durable_files import new_folder
from headrace.manifest_file import write_manifest
from trainers.calibration import fit_calibration
from trainers.job import TrainingJob
from trainers.loop import TrainedNetwork
from trainers.metrics import METRICS, expected_calibration_error

__all__ = ["CANDIDATE", "write_artifact"]

CANDIDATE = "candidate"
"""Version of a model that is not registered yet."""

Array = NDArray[Any]


def write_artifact(
    folder: Path,
    trained: TrainedNetwork,
    *,
    job: TrainingJob,
    rows: DatasetRows,
    first_validation: int,
    scaling: InputScaling,
) -> ModelManifest:
    """Calibrate, measure on the validation rows, and write weights and manifest as one folder.

    The bytes of the weights file depend on the weights and constants alone, so a run repeated or resumed to the same
    weights has the same digest.

    Args:
        folder: appears whole or not at all.
        trained: weights of the best epoch.
        job: configuration.
        rows: the whole data set, training and validation rows.
        first_validation: index of the first validation row.
        scaling: bounds and standardisation of the inputs.
    """
    labels_V = rows.labels[first_validation:]
    slope, intercept = fit_calibration(
        trained.validation_logits_V, labels_V, positive_weight=job.trainer.positive_weight
    )
    tensors = {**scaling.tensors(), "calibration": np.array([slope, intercept])}
    for index, (weight, bias) in enumerate(trained.layers):
        tensors[f"weight_{index}"], tensors[f"bias_{index}"] = weight, bias
    payload = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    dataset = rows.manifest
    draft = ModelManifest(
        model=job.model,
        version=CANDIDATE,
        weights_file=WEIGHTS_FILE,
        weights_sha256=hashlib.sha256(payload).hexdigest(),
        architecture={"kind": "mlp", "inputs": len(dataset.features), "hidden": list(job.trainer.hidden)},
        features=dataset.features,
        definitions=dataset.definitions,
        dataset_id=dataset.dataset_id,
        dataset_hash=dataset.content_hash,
        trained_from_us=dataset.start_us,
        trained_until_us=dataset.end_us,
        threshold=0.0,
        metrics={},
        seed=job.trainer.seed,
        created_us=job.created_us,
        cost={
            "device_seconds": round(trained.device_seconds, 3),
            "price": round(trained.device_seconds / 3600 * job.price_per_device_hour, 6),
        },
    )
    model = LoadedModel(
        manifest=draft,
        scaling=scaling,
        layers=tuple((weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in trained.layers),
        slope=slope,
        intercept=intercept,
    )
    scores = model.score(rows.features_NF)
    manifest = dataclasses.replace(
        draft,
        threshold=_threshold(scores, rows.labels),
        metrics=_metrics(labels_V, scores[first_validation:], best_epoch=trained.best_epoch),
    )
    with new_folder(folder) as filling:
        (filling / WEIGHTS_FILE).write_bytes(payload)
        write_manifest(filling / MANIFEST_FILE, manifest)
    return manifest


def _threshold(scores: Array, labels: Array) -> float:
    """The k-th largest score where k is the number of positives: then as many rows are flagged as are positive."""
    positives = max(1, int((labels == 1).sum()))
    return float(np.partition(scores, len(scores) - positives)[len(scores) - positives])


def _metrics(labels: Array, scores: Array, *, best_epoch: int) -> dict[str, float]:
    values = {f"validation_{name}": metric(labels, scores, None) for name, metric in METRICS.items()}
    values["validation_calibration_error"] = expected_calibration_error(labels, scores)
    values["validation_rows"], values["validation_positives"] = float(len(labels)), float((labels == 1).sum())
    values["best_epoch"] = float(best_epoch)
    return {name: value for name, value in values.items() if np.isfinite(value)}
