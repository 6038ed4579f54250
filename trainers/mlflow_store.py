"""MLflow, at arm's length: the one file that imports it, and where its errors become ours.

The import takes seconds and opening a new database some more, so both happen when a store is made, never before.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from headrace.errors import HeadraceError, RejectedError, UnavailableError

__all__ = ["MlflowStore"]

_REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "BAD_REQUEST")
_ARTIFACT = "artifact"
_SQLITE = "sqlite:///"


class MlflowStore:
    """Runs, registered versions and aliases.

    Args:
        uri: ``Settings.mlflow_uri``.
        artifacts_dir: where artifacts go unless a tracking server keeps them.

    Raises:
        UnavailableError: from every method, when server or database do not answer.
        RejectedError: from every method, when MLflow refuses what was asked.
    """

    def __init__(self, uri: str, artifacts_dir: Path) -> None:
        # Read when mlflow is imported; it would report usage to its makers.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if uri.startswith(_SQLITE):
            _check_sqlite(Path(unquote(uri.removeprefix(_SQLITE))))
        from mlflow import MlflowClient

        # Importing mlflow sets its own loggers to INFO, and a new database tells every migration.
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        with _translated():
            self._client: Any = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._artifact_location = None if uri.startswith("http") else artifacts_dir.absolute().as_uri()

    def find_run(self, experiment: str, tag: str, value: str) -> str | None:
        """Id of the run of an experiment with a tag, if there is one."""
        with _translated():
            found = self._client.search_runs([self._experiment(experiment)], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(found[0].info.run_id) if found else None

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], artifact: Path) -> str:
        """Start a run and store an artifact with it; returns its id."""
        with _translated():
            run = self._client.create_run(self._experiment(experiment), tags=dict(tags), run_name=name)
            self._client.log_artifacts(run.info.run_id, str(artifact), _ARTIFACT)
        return str(run.info.run_id)

    def log(
        self,
        run_id: str,
        *,
        parameters: Mapping[str, str],
        metrics: Sequence[tuple[str, float, int]],
        tags: Mapping[str, str],
        at_us: int,
    ) -> None:
        """Add to a run and close it; the same again changes nothing.

        Args:
            run_id: the run.
            parameters: once written they never change.
            metrics: (name, value, step).
            tags: the newest value of each counts.
            at_us: instant the metrics are of.
        """
        from mlflow.entities import Metric, Param, RunTag

        with _translated():
            self._client.log_batch(
                run_id,
                metrics=[Metric(name, value, at_us // 1000, step) for name, value, step in metrics],
                params=[Param(name, value) for name, value in parameters.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            self._client.set_terminated(run_id, "FINISHED")

    def run(self, run_id: str) -> tuple[dict[str, float], dict[str, str]]:
        """Metrics and tags of a run."""
        with _translated():
            data = self._client.get_run(run_id).data
        tags = {name: value for name, value in data.tags.items() if not name.startswith("mlflow.")}
        return dict(data.metrics), tags

    def find_version(self, model: str, tag: str, value: str) -> tuple[int, str] | None:
        """(number, run id) of the oldest version with a tag, if there is one."""
        with _translated():
            found = self._client.search_model_versions(f"name = '{model}' and tags.`{tag}` = '{value}'")
        if not found:
            return None
        oldest = min(found, key=lambda entry: int(entry.version))
        return int(oldest.version), str(oldest.run_id)

    def create_version(self, model: str, run_id: str, tags: Mapping[str, str]) -> int:
        """Register the artifact of a run as the next version; returns its number."""
        with _translated():
            if not self._is_registered(model):
                self._client.create_registered_model(model)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{_ARTIFACT}"
            return int(self._client.create_model_version(model, source, run_id, tags=dict(tags)).version)

    def versions(self, model: str) -> list[tuple[int, str, int]]:
        """(number, run id, microseconds of creation) of every version, newest first."""
        with _translated():
            found = self._client.search_model_versions(f"name = '{model}'", max_results=1000)
        rows = [(int(entry.version), str(entry.run_id), int(entry.creation_timestamp) * 1000) for entry in found]
        return sorted(rows, reverse=True)

    def models(self) -> tuple[str, ...]:
        """Names of the registered models."""
        with _translated():
            return tuple(sorted(entry.name for entry in self._client.search_registered_models(max_results=1000)))

    def aliases(self, model: str) -> dict[str, int]:
        """Alias -> number; empty for a model without versions."""
        with _translated():
            if not self._is_registered(model):
                return {}
            found = self._client.get_registered_model(model).aliases
        return {alias: int(number) for alias, number in sorted(found.items())}

    def set_alias(self, model: str, alias: str, number: int | None) -> None:
        """Point an alias at a version, or take it away."""
        with _translated():
            if number is None:
                self._client.delete_registered_model_alias(model, alias)
            else:
                self._client.set_registered_model_alias(model, alias, str(number))

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=self._artifact_location))

    def _is_registered(self, model: str) -> bool:
        return bool(self._client.search_registered_models(f"name = '{model}'"))


def _check_sqlite(path: Path) -> None:
    """Fail at once where mlflow would try for two minutes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    except (sqlite3.Error, OSError) as error:
        raise _away(error) from error


def _away(error: Exception) -> UnavailableError:
    return UnavailableError(
        f"MLflow's store does not answer: {error}", hint="check mlflow.tracking_uri and the free disk space"
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        kind: type[HeadraceError] = RejectedError if error.error_code in _REFUSED else UnavailableError
        raise kind(f"MLflow: {error.message}", hint="`headrace models list` shows what is registered") from error
    except (SQLAlchemyError, OSError) as error:
        raise _away(error) from error
