"""Small training sets that a small network can learn, and models built by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace import TorchClassifier
from headrace.artifact_format import InputScaling, LoadedModel
from headrace.contracts.artifacts import DatasetManifest, EvaluationReport, ModelManifest
from headrace.dataset_format import DatasetRows, read_rows, write_dataset
from trainers.job import TrainingJob

__all__ = [
    "FEATURES",
    "TINY",
    "a_job",
    "a_linear_model",
    "a_report",
    "make_dataset",
    "make_rows",
    "unscaled",
]

FEATURES = ("spend__count_1d", "spend__mean_eur_1d", "amount")
TINY = TorchClassifier(hidden=(8,), epochs=4, batch_rows=64, learning_rate=2e-2, validation=0.25)

Array = NDArray[Any]


def make_dataset(root: Path, rows: int = 1200, seed: int = 0, nulls: float = 0.1, bias: float = -7.0) -> Path:
    """A data set whose positives are the large amounts; returns its folder."""
    generator = np.random.default_rng(seed)
    features = np.column_stack(
        [generator.poisson(3, rows), generator.exponential(20, rows), generator.gamma(2, 30, rows)]
    )
    chance = 1 / (1 + np.exp(-(0.06 * features[:, 2] + 0.3 * features[:, 0] + bias)))
    labels = (generator.random(rows) < chance).astype(np.int64)
    times = np.sort(generator.integers(0, 10**9, rows))
    empty = np.zeros_like(features, dtype=bool)
    empty[:, 1] = generator.random(rows) < nulls
    columns: dict[str, Any] = {"id": np.arange(rows), "at": pa.array(times, pa.timestamp("us", tz="UTC"))}
    for index, name in enumerate(FEATURES):
        columns[name] = pa.array(features[:, index], mask=empty[:, index])
    columns["fraud"] = labels
    manifest = DatasetManifest(
        dataset_id="",
        model="cards",
        content_hash="",
        mode="corrected",
        start_us=0,
        end_us=10**9,
        as_of_us=2 * 10**9,
        rows=rows,
        positives=int(labels.sum()),
        features=FEATURES,
        definitions={"spend": "0123456789ab"},
        sources={},
        columns=tuple(columns),
    )
    return root / write_dataset(root, pa.table(columns), manifest).dataset_id


def make_rows(root: Path, **options: Any) -> DatasetRows:
    """The same as arrays."""
    return read_rows(make_dataset(root, **options))


def a_job(dataset: Path, **changes: Any) -> TrainingJob:
    """A job that takes a fraction of a second."""
    job = TrainingJob(model="cards", dataset=str(dataset), trainer=TINY, device="cpu", price_per_device_hour=3600.0)
    return dataclasses.replace(job, **changes)


def unscaled(inputs: int) -> InputScaling:
    """Inputs that go into the network as they are."""
    return InputScaling(
        low_F=np.full(inputs, -1e6),
        high_F=np.full(inputs, 1e6),
        mean_E=np.zeros(2 * inputs),
        scale_E=np.ones(2 * inputs),
    )


def a_linear_model(weights: Array, *, bias: float = 0.0, version: str = "v1") -> LoadedModel:
    """A model without hidden layer whose logit is ``weights`` times the plain inputs, plus ``bias``."""
    inputs = len(weights)
    manifest = ModelManifest(
        model="cards",
        version=version,
        weights_file="weights.safetensors",
        weights_sha256="",
        architecture={"kind": "mlp", "inputs": inputs, "hidden": []},
        features=FEATURES[:inputs],
        definitions={},
        dataset_id="",
        dataset_hash="",
        trained_from_us=0,
        trained_until_us=0,
        threshold=0.5,
        metrics={},
    )
    expanded = np.concatenate([weights, np.zeros(inputs)])[:, None]
    return LoadedModel(
        manifest=manifest,
        scaling=unscaled(inputs),
        layers=((expanded, np.array([bias])),),
        slope=1.0,
        intercept=0.0,
    )


def a_report(**changes: Any) -> EvaluationReport:
    """A candidate that is good in every respect, to be spoiled in one."""
    report = EvaluationReport(
        model="cards",
        candidate={"average_precision": 0.7, "roc_auc": 0.9, "log_loss": 0.02, "brier": 0.005},
        champion={"average_precision": 0.6, "roc_auc": 0.88, "log_loss": 0.025, "brier": 0.006},
        champion_version="v1",
        test_from_us=0,
        test_until_us=10**9,
        rows=60_000,
        positives=500,
        difference={"average_precision": (0.1, 0.08, 0.12), "log_loss": (-0.005, -0.006, -0.004)},
        slices={
            "average_precision of amount 0 to 20": {"estimate": 0.1, "lower": 0.0, "upper": 0.2, "positives": 90.0},
            "average_precision of amount 21 to 90": {"estimate": 0.1, "lower": 0.0, "upper": 0.2, "positives": 80.0},
        },
        calibration_error=0.001,
        latency_p99_ms=0.1,
    )
    return dataclasses.replace(report, **changes)
