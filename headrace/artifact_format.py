"""The format of a trained model and its forward pass in numpy: what trainers write and everybody else reads.

    <folder>/weights.safetensors   layers, bounds, standardisation and calibration as tensors; nothing is unpickled
    <folder>/manifest.json         contracts.artifacts.ModelManifest, with the digest of the weights

A row of F inputs becomes a score in five steps:

    bound        to the range seen in training: beyond it the nearest value seen is answered for, and an input that
                 never varied then counts for nothing, where a network would run on along a straight line
    expand       x_F -> (x, sign(x) log(1 + |x|))      amounts and counts have long tails; the network sees both forms
    standardise  minus the training mean, over the training deviation; null becomes the training mean
    network      dense layers with ReLU between them, one logit
    calibrate    sigmoid(slope * logit + intercept)    undoes the weight positives had in the loss

Shapes: N rows, F inputs, E = 2F expanded inputs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from headrace.contracts.artifacts import ModelManifest
from headrace.errors import IntegrityError
from headrace.manifest_file import read_manifest

__all__ = [
    "MANIFEST_FILE",
    "WEIGHTS_FILE",
    "InputScaling",
    "LoadedModel",
    "expand",
    "sha256_of",
    "sigmoid",
    "standardise",
]

WEIGHTS_FILE = "weights.safetensors"
MANIFEST_FILE = "manifest.json"

Array = NDArray[Any]


def expand(inputs_NF: Array) -> Array:
    """Each input as it is and on a signed logarithmic scale, (N, F) to (N, 2F).

    >>> expand(np.array([[0.0, -1.0]])).round(3).tolist()
    [[0.0, -1.0, 0.0, -0.693]]
    """
    return np.concatenate([inputs_NF, np.copysign(np.log1p(np.abs(inputs_NF)), inputs_NF)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InputScaling:
    """What training learned about the inputs alone: F inputs, E = 2F expanded inputs, all float64."""

    low_F: Array
    high_F: Array
    """Smallest and largest finite value seen; without one, 0."""
    mean_E: Array
    scale_E: Array

    def tensors(self) -> dict[str, Array]:
        """As they are stored."""
        return {"low": self.low_F, "high": self.high_F, "mean": self.mean_E, "scale": self.scale_E}

    @classmethod
    def of(cls, tensors: Mapping[str, Array], inputs: int) -> "InputScaling":
        """From what is stored.

        Raises:
            KeyError: a tensor is absent.
            ValueError: one does not fit ``inputs``.
        """
        for name, size in (("low", inputs), ("high", inputs), ("mean", 2 * inputs), ("scale", 2 * inputs)):
            if tensors[name].shape != (size,):
                raise ValueError(f"{name!r} has shape {tensors[name].shape}, not ({size},)")
        low, high, mean, scale = (tensors[name].astype(np.float64) for name in ("low", "high", "mean", "scale"))
        return cls(low_F=low, high_F=high, mean_E=mean, scale_E=scale)


def standardise(inputs_NF: Array, scaling: InputScaling) -> Array:
    """Bounded, expanded inputs with zero mean and unit deviation over the training rows, (N, F) to (N, E) float64.

    A null (NaN) becomes 0, the training mean. An infinite input stays so and gives no finite score.
    """
    bounded_NF = np.where(np.isinf(inputs_NF), inputs_NF, np.clip(inputs_NF, scaling.low_F, scaling.high_F))
    z_NE = (expand(bounded_NF) - scaling.mean_E) / scaling.scale_E
    return np.where(np.isnan(z_NE) & np.isnan(np.tile(inputs_NF, 2)), 0.0, z_NE)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow.

    >>> sigmoid(np.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def sha256_of(path: Path) -> str:
    """Hex digest of a file.

    Raises:
        IntegrityError: it is absent.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedModel:
    """A model version in memory, verified, ready to score; shared by threads."""

    manifest: ModelManifest
    scaling: InputScaling
    layers: tuple[tuple[Array, Array], ...]
    """(weight (in, out), bias (out,)) of each dense layer, float64."""
    slope: float
    intercept: float

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        expected_features: tuple[str, ...] | None = None,
        expected_definitions: Mapping[str, str] | None = None,
    ) -> "LoadedModel":
        """Read a model version and check it against its manifest and, when given, against the catalog.

        Args:
            folder: holds manifest and weights.
            expected_features: input names in the order the caller will give them.
            expected_definitions: name -> fingerprint of the views and request features in use.

        Raises:
            IntegrityError: a file is absent or changed, or features or definitions are not the expected ones.
        """
        manifest = read_manifest(folder / MANIFEST_FILE, ModelManifest)
        path = folder / manifest.weights_file
        if path.parent != folder:
            raise IntegrityError(f"{folder}: weights file {manifest.weights_file!r} is no plain file name")
        digest = sha256_of(path)
        if digest != manifest.weights_sha256:
            raise IntegrityError(
                f"{path} has digest {digest[:12]}, its manifest says {manifest.weights_sha256[:12]}",
                hint="the file was changed or torn; publish the version again from the registry",
            )
        if expected_features is not None and expected_features != manifest.features:
            pairs = zip(manifest.features, expected_features, strict=False)
            differing = [f"{trained!r} for {given!r}" for trained, given in pairs if trained != given]
            raise IntegrityError(
                f"model {manifest.model!r} {manifest.version} was trained on {len(manifest.features)} inputs,"
                f" the catalog gives {len(expected_features)}; first difference: {(differing or ['the number'])[0]}",
                hint="train a version on the definitions in use",
            )
        for name, fingerprint in (expected_definitions or {}).items():
            if manifest.definitions.get(name) != fingerprint:
                raise IntegrityError(
                    f"model {manifest.model!r} {manifest.version} was trained on definition"
                    f" {manifest.definitions.get(name, 'none')} of {name!r}, in use is {fingerprint}",
                    hint="train a version on the definitions in use, or serve the project it was trained on",
                )
        return _from_tensors(manifest, path)

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def features(self) -> tuple[str, ...]:
        """Input names in the order of the matrix's columns."""
        return self.manifest.features

    def logits(self, inputs_NF: Array) -> Array:
        """Uncalibrated log odds, (N, F) float64 with NaN for null, to (N,)."""
        if inputs_NF.ndim != 2 or inputs_NF.shape[1] != len(self.features):
            raise IntegrityError(
                f"{self.manifest.model!r} takes (N, {len(self.features)}) inputs, got {inputs_NF.shape}"
            )
        hidden = standardise(inputs_NF, self.scaling)
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        weight, bias = self.layers[-1]
        return np.asarray((hidden @ weight + bias)[:, 0])

    def score(self, inputs_NF: Array) -> Array:
        """Calibrated probability of a positive, (N, F) float64 with NaN for null, to (N,) float64."""
        return sigmoid(self.slope * self.logits(inputs_NF) + self.intercept)


def _from_tensors(manifest: ModelManifest, path: Path) -> LoadedModel:
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
        widths = [2 * len(manifest.features), *_hidden(manifest), 1]
        layers = []
        for index, shape in enumerate(pairwise(widths)):
            weight, bias = tensors[f"weight_{index}"], tensors[f"bias_{index}"]
            if weight.shape != shape or bias.shape != shape[1:]:
                raise IntegrityError(f"{path}: layer {index} has shape {weight.shape}, the manifest says {shape}")
            layers.append((weight.astype(np.float64), bias.astype(np.float64)))
        scaling = InputScaling.of(tensors, len(manifest.features))
        calibration = tensors["calibration"]
    except (KeyError, ValueError, SafetensorError) as error:
        raise IntegrityError(f"{path} is no model of kind {manifest.architecture}: {error}") from error
    if calibration.shape != (2,):
        raise IntegrityError(f"{path}: calibration has shape {calibration.shape}, not (2,)")
    return LoadedModel(
        manifest=manifest,
        scaling=scaling,
        layers=tuple(layers),
        slope=float(calibration[0]),
        intercept=float(calibration[1]),
    )


def _hidden(manifest: ModelManifest) -> list[int]:
    architecture = manifest.architecture
    hidden = architecture.get("hidden")
    known = architecture.get("kind") == "mlp" and architecture.get("inputs") == len(manifest.features)
    if not known or not isinstance(hidden, list | tuple) or not all(isinstance(width, int) for width in hidden):
        raise IntegrityError(
            f"model {manifest.model!r} {manifest.version} has architecture {architecture}",
            hint="this release reads kind 'mlp' with as many inputs as features; update headrace",
        )
    return [int(width) for width in hidden]
