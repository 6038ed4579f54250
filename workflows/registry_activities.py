"""Activities around a trained candidate: measure it beside the champion, register it, publish its reference."""

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from headrace.artifact_format import LoadedModel
from headrace.config import Settings
from headrace.contracts.artifacts import EvaluationReport, ModelManifest
from headrace.dataset_format import read_rows
from headrace.logging import get_logger
from headrace.manifest_file import read_manifest
from headrace.spec.project import load_project
from trainers.evaluate import evaluate
from trainers.gates import judge
from trainers.registry import ModelRegistry
from workflows.activity_edge import activity_named, alive
from workflows.activity_messages import (
    EVALUATE_CANDIDATE,
    PUBLISH_REFERENCE,
    REGISTER_MODEL,
    EvaluateRequest,
    ReferenceRequest,
    Registered,
    RegisterRequest,
)

__all__ = ["RegistryActivities"]

_log = get_logger(__name__)


class RegistryActivities:
    """Judges and registers; the same content gets the same version, however often it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry: ModelRegistry | None = None
        self._lock = threading.Lock()

    @activity_named(EVALUATE_CANDIDATE)
    def evaluate_candidate(self, request: EvaluateRequest) -> EvaluationReport:
        """Metrics and paired differences on the test set, with what each gate says."""
        model = load_project(request.project).model(request.model)
        with alive():
            candidate = LoadedModel.load(Path(request.artifact))
            champion = LoadedModel.load(self._folder(model.name, request.champion)) if request.champion else None
            report = evaluate(candidate, champion, read_rows(Path(request.test)), model.gates, seed=model.trainer.seed)
        report = replace(report, gates=judge(report, model.gates))
        _log.info("evaluated", model=model.name, champion=request.champion, passed=report.passed, **report.candidate)
        return report

    @activity_named(REGISTER_MODEL)
    def register_model(self, request: RegisterRequest) -> Registered:
        """Write the run down; an accepted candidate gets a version and is published for serving."""
        artifact = Path(request.artifact)
        with alive():
            registry = self._open()
            tags = {"cause": request.reason, "run": request.run}
            run_id = registry.record_run(artifact, report=request.report, tags=tags)
            if not request.accepted:
                return Registered(version="", links=self._links(request.model, ""))
            manifest = registry.register(artifact, run_id)
        _log.info("registered", model=request.model, version=manifest.version, run_id=run_id)
        return Registered(version=manifest.version, links=self._links(request.model, manifest.version))

    @activity_named(PUBLISH_REFERENCE)
    def publish_reference(self, request: ReferenceRequest) -> None:
        """Store beside a version what its monitors compare with."""
        from monitors.reference import build_reference  # River and sketches are loaded only for this

        manifest = read_manifest(self._folder(request.model, request.version) / "manifest.json", ModelManifest)
        with alive():
            build_reference(self._settings, manifest, held_out=Path(request.test))

    def set_aliases(self, model: str, aliases: Mapping[str, str | None]) -> None:
        """Point the registry's aliases at versions."""
        self._open().set_aliases(model, aliases)

    def _open(self) -> ModelRegistry:
        """The registry, opened at its first use: importing MLflow takes seconds."""
        with self._lock:
            if self._registry is None:
                self._registry = ModelRegistry(self._settings)
            return self._registry

    def _folder(self, model: str, version: str) -> Path:
        return self._settings.models_dir / model / version

    def _links(self, model: str, version: str) -> dict[str, str]:
        base = self._settings.mlflow.ui_url
        return {f"MLflow {version}": f"{base}/#/models/{model}/versions/{version[1:]}"} if base and version else {}
