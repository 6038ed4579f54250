"""Model versions in memory: verified when taken from disk, kept while a record names them."""

from collections.abc import Iterable
from pathlib import Path

from headrace.artifact_format import LoadedModel
from headrace.errors import IntegrityError
from headrace.spec.model import Model
from headrace.spec.project import definitions_of

__all__ = ["ModelShelf"]


class ModelShelf:
    """Loads versions of a project's models from ``<models_dir>/<model>/<version>``; used by one thread."""

    def __init__(self, models_dir: Path, models: Iterable[Model]) -> None:
        self._folder = models_dir
        self._models = {model.name: model for model in models}
        self._definitions = {name: definitions_of(model) for name, model in self._models.items()}
        self._loaded: dict[tuple[str, str], LoadedModel] = {}

    def load(self, model: str, version: str) -> LoadedModel:
        """A version whose digests, inputs and definitions are those of this project.

        Raises:
            IntegrityError: they are not, or a file is absent; such a version must not answer.
        """
        held = self._loaded.get((model, version))
        if held is not None:
            return held
        loaded = LoadedModel.load(
            self._folder / model / version,
            expected_features=self._models[model].feature_names,
            expected_definitions=self._definitions[model],
        )
        manifest = loaded.manifest
        if (manifest.model, manifest.version) != (model, version):
            raise IntegrityError(
                f"the folder of {model!r} {version} holds {manifest.model!r} {manifest.version}",
                hint="publish the version again from the registry",
            )
        self._loaded[model, version] = loaded
        return loaded

    def keep(self, model: str, versions: Iterable[str]) -> None:
        """Forget the model's versions that are not among ``versions``."""
        kept = set(versions)
        for name, version in list(self._loaded):
            if name == model and version not in kept:
                del self._loaded[name, version]
