"""The model registry: who was trained on what, which version is which, and what serving may load.

    artifact of a run ──record_run──► MLflow run: parameters, metrics, lineage, gates      (refused ones too)
                      ──register────► version n of the model, published as <models_dir>/<model>/v<n>/

The same content gives the same run and the same version, so a retried activity changes nothing.
"""

import contextlib
import dataclasses
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from headrace.artifact_format import MANIFEST_FILE, LoadedModel
from headrace.config import Settings
from headrace.contracts.artifacts import DatasetManifest, EvaluationReport, ModelManifest
from headrace.dataset_format import MANIFEST_FILE as DATASET_MANIFEST
from headrace.durable_files import new_folder
from headrace.errors import RejectedError
from headrace.manifest_file import read_manifest, write_manifest
from trainers.job import RunFolder
from trainers.lineage import content_of, gate_tags, lineage_tags, metrics_by_epoch, parameters, summary_metrics
from trainers.mlflow_store import MlflowStore

__all__ = ["ALIASES", "ModelRegistry", "RegisteredVersion"]

ALIASES = ("champion", "challenger", "last-known-good")
_CONTENT = "headrace.content"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """One version as the registry knows it."""

    model: str
    version: str
    """``v<n>``."""
    run_id: str
    aliases: tuple[str, ...]
    registered_us: int
    """Wall clock."""
    metrics: dict[str, float]
    tags: dict[str, str]
    """Data set, definitions, gates."""


class ModelRegistry:
    """Runs, versions and aliases of the models of one home.

    Raises:
        UnavailableError: from every method, when MLflow's server or database does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = MlflowStore(settings.mlflow_uri, settings.home / "data" / "mlflow" / "artifacts")

    def record_run(
        self,
        artifact: Path,
        *,
        report: EvaluationReport | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Write down a training, accepted or refused.

        Configuration and epochs are found in the run's folder when the artifact still lies in it, the size of the
        data set in its manifest.

        Args:
            artifact: folder of the trained model.
            report: evaluation with its gates judged.
            tags: more to remember, such as the cause and the workflow.

        Returns:
            Id of the MLflow run.

        Raises:
            IntegrityError: the artifact is not what its manifest says.
        """
        manifest = LoadedModel.load(artifact).manifest
        experiment, content = f"headrace/{manifest.model}", content_of(manifest)
        with self._alone(manifest.model):
            run_id = self._store.find_run(experiment, _CONTENT, content)
            if run_id is None:
                run_id = self._store.create_run(experiment, manifest.dataset_id, {_CONTENT: content}, artifact)
        folder = RunFolder(artifact.parent)
        trainer = folder.read_job().trainer if folder.job_file.exists() else None
        final = [(name, value, 0) for name, value in summary_metrics(manifest, report).items()]
        self._store.log(
            run_id,
            parameters=parameters(manifest, trainer, self._dataset(manifest.dataset_id)),
            metrics=[*final, *metrics_by_epoch(folder.read_history())],
            tags={**lineage_tags(manifest), **gate_tags(report), **(tags or {})},
            at_us=manifest.created_us,
        )
        return run_id

    def register(self, artifact: Path, run_id: str) -> ModelManifest:
        """Give a recorded model its version and publish it for serving.

        Returns:
            The manifest as published, with ``version`` and ``run_id``.

        Raises:
            IntegrityError: the artifact is not what its manifest says.
            RejectedError: the run does not exist, or other content is published under this version.
        """
        manifest = LoadedModel.load(artifact).manifest
        content = content_of(manifest)
        with self._alone(manifest.model):
            found = self._store.find_version(manifest.model, _CONTENT, content)
            if found is None:
                tags = {_CONTENT: content, **lineage_tags(manifest)}
                found = self._store.create_version(manifest.model, run_id, tags), run_id
        number, run_id = found
        return self.publish(artifact, dataclasses.replace(manifest, version=f"v{number}", run_id=run_id))

    def publish(self, artifact: Path, manifest: ModelManifest) -> ModelManifest:
        """Copy an artifact to where serving looks, whole or not at all; a published version never changes.

        Raises:
            RejectedError: other content is already published under this version.
        """
        folder = self._settings.models_dir / manifest.model / manifest.version
        if not folder.exists():
            with new_folder(folder) as filling:
                shutil.copyfile(artifact / manifest.weights_file, filling / manifest.weights_file)
                write_manifest(filling / MANIFEST_FILE, manifest)
        published = LoadedModel.load(folder).manifest
        if content_of(published) != content_of(manifest):
            raise RejectedError(
                f"{folder} holds weights {published.weights_sha256[:12]}, not {manifest.weights_sha256[:12]}",
                hint="MLflow's database and the models folder belong to different homes; move the folder away",
            )
        return published

    def aliases(self, model: str) -> dict[str, str]:
        """Alias -> version; empty for a model that was never registered."""
        return {alias: f"v{number}" for alias, number in self._store.aliases(model).items()}

    def set_aliases(self, model: str, aliases: Mapping[str, str | None]) -> None:
        """Point aliases at versions; one that is given as None is taken away.

        Raises:
            RejectedError: an alias or a version is unknown.
        """
        for alias in aliases:
            if alias not in ALIASES:
                raise RejectedError(f"alias {alias!r} is unknown", hint=f"use one of {', '.join(ALIASES)}")
        held = self.aliases(model)
        for alias, version in aliases.items():
            if version != held.get(alias):
                self._store.set_alias(model, alias, None if version is None else _number(version))

    def models(self) -> tuple[str, ...]:
        """Names of all registered models."""
        return self._store.models()

    def versions(self, model: str) -> tuple[RegisteredVersion, ...]:
        """Every version of a model, newest first."""
        aliases = self.aliases(model)
        described = []
        for number, run_id, registered_us in self._store.versions(model):
            metrics, tags = self._store.run(run_id)
            described.append(
                RegisteredVersion(
                    model=model,
                    version=f"v{number}",
                    run_id=run_id,
                    aliases=tuple(alias for alias, version in aliases.items() if version == f"v{number}"),
                    registered_us=registered_us,
                    metrics=metrics,
                    tags=tags,
                )
            )
        return tuple(described)

    def _dataset(self, dataset_id: str) -> DatasetManifest | None:
        path = self._settings.datasets_dir / dataset_id / DATASET_MANIFEST
        return read_manifest(path, DatasetManifest) if path.exists() else None

    @contextlib.contextmanager
    def _alone(self, model: str) -> Iterator[None]:
        """One registration of a model at a time on this machine: looking and creating are two calls to MLflow."""
        self._settings.models_dir.mkdir(parents=True, exist_ok=True)
        with (self._settings.models_dir / f".{model}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _number(version: str) -> int:
    digits = version.removeprefix("v")
    if not digits.isdigit():
        raise RejectedError(f"version {version!r} is no registered version", hint="versions are v1, v2, …")
    return int(digits)
