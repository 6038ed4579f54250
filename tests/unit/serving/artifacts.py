"""Hand-made model versions in the format of headrace.artifact_format: one dense layer, weights as given."""

from pathlib import Path

import numpy as np
import safetensors.numpy

from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, sha256_of
from headrace.contracts.artifacts import ModelManifest
from headrace.manifest_file import write_manifest
from headrace.spec.model import Model
from headrace.spec.project import fingerprint

__all__ = ["write_version"]


def write_version(
    models_dir: Path, model: Model, version: str, *, weight: float = 0.01, bias: float = -2.0, threshold: float = 0.5
) -> ModelManifest:
    """Write ``<models_dir>/<model>/<version>``: score = sigmoid(weight * sum of inputs + bias)."""
    folder = models_dir / model.name / version
    folder.mkdir(parents=True)
    inputs = len(model.feature_names)
    weights = np.concatenate([np.full(inputs, weight), np.zeros(inputs)])
    tensors = {
        "low": np.full(inputs, -1e6),
        "high": np.full(inputs, 1e6),
        "mean": np.zeros(2 * inputs),
        "scale": np.ones(2 * inputs),
        "weight_0": weights.reshape(2 * inputs, 1),
        "bias_0": np.array([bias]),
        "calibration": np.array([1.0, 0.0]),
    }
    (folder / WEIGHTS_FILE).write_bytes(safetensors.numpy.save(tensors))
    manifest = ModelManifest(
        model=model.name,
        version=version,
        weights_file=WEIGHTS_FILE,
        weights_sha256=sha256_of(folder / WEIGHTS_FILE),
        architecture={"kind": "mlp", "inputs": inputs, "hidden": []},
        features=model.feature_names,
        definitions={item.name: fingerprint(item) for item in (*model.views, *model.requests)},
        dataset_id="none",
        dataset_hash="none",
        trained_from_us=0,
        trained_until_us=0,
        threshold=threshold,
        metrics={},
    )
    write_manifest(folder / MANIFEST_FILE, manifest)
    return manifest
