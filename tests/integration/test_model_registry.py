"""The registry on a real MLflow database: the same content is the same version, and aliases move."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, LoadedModel, sha256_of
from headrace.config import MlflowSettings, Settings
from headrace.contracts.artifacts import GateResult, ModelManifest
from headrace.errors import IntegrityError, RejectedError, UnavailableError
from headrace.manifest_file import read_manifest, write_manifest
from tests.training_cases import TINY, a_job, a_report, make_dataset
from trainers.job import RunFolder
from trainers.main import run_job
from trainers.registry import ModelRegistry


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def registry(home: Settings) -> ModelRegistry:
    return ModelRegistry(home)


def _train(home: Settings, model: str, seed: int = 0) -> Path:
    dataset = make_dataset(home.datasets_dir)
    folder = RunFolder(home.runs_dir / f"{model}-{seed}")
    folder.write_job(a_job(dataset, model=model, trainer=dataclasses.replace(TINY, seed=seed)))
    run_job(folder)
    return folder.artifact


def test_a_version_is_published_for_serving(home: Settings, registry: ModelRegistry) -> None:
    artifact = _train(home, "published")

    manifest = registry.register(artifact, registry.record_run(artifact))

    loaded = LoadedModel.load(home.models_dir / "published" / "v1").manifest
    assert loaded == manifest
    assert (manifest.version, manifest.model) == ("v1", "published")
    assert manifest.weights_sha256 == LoadedModel.load(artifact).manifest.weights_sha256
    assert manifest.run_id


def test_the_same_content_is_the_same_version(home: Settings, registry: ModelRegistry) -> None:
    first, second = _train(home, "again", 0), _train(home, "again", 1)

    versions = [
        registry.register(artifact, registry.record_run(artifact)).version for artifact in (first, first, second, first)
    ]

    assert versions == ["v1", "v1", "v2", "v1"]
    assert [entry.version for entry in registry.versions("again")] == ["v2", "v1"]


def test_a_version_remembers_where_it_comes_from(home: Settings, registry: ModelRegistry) -> None:
    artifact = _train(home, "lineage")
    verdict = GateResult(gate="latency", passed=True, value=0.1, limit=10.0, detail="quick enough")
    report = a_report(model="lineage", gates=(verdict,))

    run_id = registry.record_run(artifact, report=report, tags={"cause": "drift of amount"})
    manifest = registry.register(artifact, run_id)

    (entry,) = registry.versions("lineage")
    assert entry.run_id == run_id
    assert entry.tags["dataset_hash"] == manifest.dataset_hash
    assert entry.tags["definition.spend"] == manifest.definitions["spend"]
    assert entry.tags["gate.latency"] == "passed: quick enough"
    assert entry.tags["gates"] == "passed"
    assert entry.tags["cause"] == "drift of amount"
    assert entry.metrics["test_average_precision"] == pytest.approx(0.7)
    assert entry.metrics["device_seconds"] == manifest.cost["device_seconds"]
    assert entry.metrics["epoch_loss"] > 0


def test_a_refused_candidate_is_a_run_without_a_version(home: Settings, registry: ModelRegistry) -> None:
    artifact = _train(home, "refused")
    verdict = GateResult(gate="latency", passed=False, value=99.0, limit=10.0, detail="too slow")

    assert registry.record_run(artifact, report=a_report(gates=(verdict,)))
    assert registry.versions("refused") == ()
    assert not (home.models_dir / "refused").exists()


def test_aliases_follow_what_they_are_told(home: Settings, registry: ModelRegistry) -> None:
    for seed in (0, 1):
        artifact = _train(home, "named", seed)
        registry.register(artifact, registry.record_run(artifact))
    seen = []
    for told in (
        {"champion": "v1", "challenger": None, "last-known-good": "v1"},
        {"champion": "v1", "challenger": "v2", "last-known-good": "v1"},
        {"champion": "v2", "challenger": None, "last-known-good": "v1"},
        {"champion": "v2", "challenger": None, "last-known-good": "v1"},
    ):
        registry.set_aliases("named", told)
        seen.append(registry.aliases("named"))

    assert seen[1] == {"challenger": "v2", "champion": "v1", "last-known-good": "v1"}
    assert seen[2] == seen[3] == {"champion": "v2", "last-known-good": "v1"}
    assert registry.versions("named")[0].aliases == ("champion",)


def test_unknown_names_are_refused(home: Settings, registry: ModelRegistry) -> None:
    artifact = _train(home, "strict")
    registry.register(artifact, registry.record_run(artifact))

    with pytest.raises(RejectedError, match="alias 'best' is unknown"):
        registry.set_aliases("strict", {"best": "v1"})
    with pytest.raises(RejectedError, match="'candidate' is no registered version"):
        registry.set_aliases("strict", {"champion": "candidate"})
    with pytest.raises(RejectedError, match="version=7"):
        registry.set_aliases("strict", {"champion": "v7"})
    assert registry.aliases("never-registered") == {}
    assert "strict" in registry.models()


def test_a_damaged_artifact_is_not_registered(home: Settings, registry: ModelRegistry) -> None:
    artifact = _train(home, "damaged")
    weights = artifact / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")

    with pytest.raises(IntegrityError, match="has digest"):
        registry.record_run(artifact)
    with pytest.raises(IntegrityError, match="has digest"):
        registry.register(artifact, "any")


def test_a_published_version_never_changes(home: Settings, registry: ModelRegistry, tmp_path: Path) -> None:
    artifact = _train(home, "kept")
    manifest = registry.register(artifact, registry.record_run(artifact))
    tensors = safetensors.numpy.load((artifact / WEIGHTS_FILE).read_bytes())
    (tmp_path / WEIGHTS_FILE).write_bytes(safetensors.numpy.save({**tensors, "calibration": np.array([2.0, 0.0])}))
    write_manifest(
        tmp_path / MANIFEST_FILE,
        dataclasses.replace(
            read_manifest(artifact / MANIFEST_FILE, ModelManifest), weights_sha256=sha256_of(tmp_path / WEIGHTS_FILE)
        ),
    )

    with pytest.raises(RejectedError, match="holds weights"):
        registry.publish(tmp_path, dataclasses.replace(LoadedModel.load(tmp_path).manifest, version=manifest.version))
    assert LoadedModel.load(home.models_dir / "kept" / "v1").manifest == manifest


def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and no part of one either\n" * 100)
    settings = Settings(home=tmp_path, mlflow=MlflowSettings(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db"))

    with pytest.raises(UnavailableError, match="MLflow's store does not answer: file is not a database"):
        ModelRegistry(settings)
