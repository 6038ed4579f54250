"""Two bad candidates, made from a good one: what the demo forces through to show that harm is seen.

Both are honest files with valid digests; only their numbers are wrong, as after a mistake in a training pipeline.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.numpy

from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, sha256_of
from headrace.contracts.artifacts import ModelManifest
from headrace.manifest_file import read_manifest, write_manifest

__all__ = ["invert", "overflow"]

_HUGE = 1e300
"""A finite weight whose square is not."""


def invert(good: Path, bad: Path) -> ModelManifest:
    """A model whose labels were swapped: it scores 1 - p."""
    tensors = safetensors.numpy.load_file(good / WEIGHTS_FILE)
    tensors["calibration"] = -tensors["calibration"]
    return _write(good, bad, tensors, hidden=None)


def overflow(good: Path, bad: Path, *, feature: str, above_deviations: float = 1.8) -> ModelManifest:
    """A model that answers like the good one until ``feature`` is large, and then NaN.

    Two units stay at zero until ``feature`` is ``above_deviations`` standard deviations above its mean, and cancel
    each other; beyond it their product with the next weight overflows, and infinity minus infinity is NaN.
    """
    manifest = read_manifest(good / MANIFEST_FILE, ModelManifest)
    tensors = safetensors.numpy.load_file(good / WEIGHTS_FILE)
    tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    last = max(int(name.rsplit("_", 1)[1]) for name in tensors if name.startswith("weight_"))
    column = manifest.features.index(feature)
    for index in range(last + 1):
        weight, bias = tensors[f"weight_{index}"], tensors[f"bias_{index}"]
        if index < last:
            bias = np.concatenate([bias, np.zeros(2)])
            weight = np.pad(weight, ((0, 0), (0, 2)))
        if index == 0:
            weight[column, -2:], bias[-2:] = _HUGE, -_HUGE * above_deviations
        else:
            weight = np.pad(weight, ((0, 2), (0, 0)))
            weight[-2:, -2:] = _HUGE * np.eye(2) if index < last else [[_HUGE], [-_HUGE]]
        tensors[f"weight_{index}"], tensors[f"bias_{index}"] = weight, bias
    hidden = manifest.architecture["hidden"]
    assert isinstance(hidden, list | tuple)
    return _write(good, bad, tensors, hidden=[int(width) + 2 for width in hidden])


def _write(good: Path, bad: Path, tensors: dict[str, np.ndarray], *, hidden: list[int] | None) -> ModelManifest:
    shutil.copytree(good, bad)
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    safetensors.numpy.save_file(contiguous, bad / WEIGHTS_FILE)
    manifest = read_manifest(good / MANIFEST_FILE, ModelManifest)
    architecture = {**manifest.architecture, **({"hidden": hidden} if hidden else {})}
    changed = replace(
        manifest, weights_sha256=sha256_of(bad / WEIGHTS_FILE), architecture=json.loads(json.dumps(architecture))
    )
    write_manifest(bad / MANIFEST_FILE, changed)
    return changed
