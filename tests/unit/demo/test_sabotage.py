"""The demo's bad candidates are bad in the way they claim, and only in that."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, LoadedModel, sha256_of
from headrace.contracts.artifacts import ModelManifest
from headrace.demo.sabotage import invert, overflow
from headrace.manifest_file import write_manifest

ROWS = np.array([[1.0, 5.0], [2.0, -3.0], [0.5, 40.0]])


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A small network on two inputs, standardised with mean 0 and deviation 10."""
    rng = np.random.default_rng(0)
    widths = (4, 3, 2, 1)
    tensors = {"low": np.full(2, -1e6), "high": np.full(2, 1e6), "mean": np.zeros(4), "scale": np.full(4, 10.0)}
    tensors["calibration"] = np.array([1.0, -0.5])
    for index, shape in enumerate(itertools.pairwise(widths)):
        tensors[f"weight_{index}"] = rng.normal(size=shape)
        tensors[f"bias_{index}"] = rng.normal(size=shape[1])
    folder = tmp_path / "good"
    folder.mkdir()
    safetensors.numpy.save_file(tensors, folder / WEIGHTS_FILE)
    manifest = ModelManifest(
        model="m",
        version="v1",
        weights_file=WEIGHTS_FILE,
        weights_sha256=sha256_of(folder / WEIGHTS_FILE),
        architecture=json.loads('{"kind": "mlp", "inputs": 2, "hidden": [3, 2]}'),
        features=("calm", "amount"),
        definitions={},
        dataset_id="d",
        dataset_hash="",
        trained_from_us=0,
        trained_until_us=1,
        threshold=0.5,
        metrics={},
    )
    write_manifest(folder / MANIFEST_FILE, manifest)
    return folder


def test_an_inverted_model_scores_one_minus_p(good: Path, tmp_path: Path) -> None:
    invert(good, tmp_path / "bad")

    bad, honest = LoadedModel.load(tmp_path / "bad"), LoadedModel.load(good)
    np.testing.assert_allclose(bad.score(ROWS), 1 - honest.score(ROWS), atol=1e-12)


def test_an_overflowing_model_is_right_until_the_input_is_large(good: Path, tmp_path: Path) -> None:
    overflow(good, tmp_path / "bad", feature="amount")

    with np.errstate(over="ignore", invalid="ignore"):
        scores = LoadedModel.load(tmp_path / "bad").score(ROWS)
    np.testing.assert_allclose(scores[:2], LoadedModel.load(good).score(ROWS)[:2])
    assert np.isnan(scores[2])
