"""Where a monitor finds what it compares with: references, thresholds, rollout records. Read when needed, then kept."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from headrace.artifact_format import MANIFEST_FILE
from headrace.config import Settings
from headrace.contracts.artifacts import ModelManifest
from headrace.contracts.rollout import RolloutChange, RolloutRecord
from headrace.errors import HeadraceError, IntegrityError, UnavailableError
from headrace.logging import get_logger
from headrace.manifest_file import read_manifest
from headrace.rollout_store import RolloutStore
from monitors.model_monitor import Outlook
from monitors.reference import Reference, build_reference, load_reference

__all__ = ["ModelLibrary"]

_KEPT = 6
_log = get_logger(__name__)


class ModelLibrary:
    """Knowledge about the versions of one model.

    Args:
        settings: where models and data sets are.
        model: its name.
        store: rollout records, asked for epochs that the deployments topic did not bring.
    """

    def __init__(self, settings: Settings, model: str, store: RolloutStore) -> None:
        self._settings, self._model, self._store = settings, model, store
        self._manifests: dict[str, ModelManifest] = {}
        self._references: OrderedDict[str, Reference] = OrderedDict()
        self._records: dict[int, RolloutRecord] = {}
        self._troubles: set[str] = set()

    @property
    def outlook(self) -> Outlook:
        """The functions a ModelMonitor asks."""
        return Outlook(reference=self.reference, threshold=self.threshold, records=self.records)

    def learn(self, change: RolloutChange) -> None:
        """A deployment was announced."""
        self._records[change.record.epoch] = change.record

    def records(self, epochs: Iterable[int]) -> Mapping[int, RolloutRecord]:
        """Records by epoch, as far as they are known."""
        wanted = {epoch for epoch in epochs if epoch > 0}
        if not wanted <= self._records.keys():
            try:
                for change in self._store.history(self._model):
                    self.learn(change)
            except UnavailableError as error:
                self._say("rollout history not read", str(error.args[0]))
        return {epoch: self._records[epoch] for epoch in wanted if epoch in self._records}

    def threshold(self, version: str) -> float | None:
        """Score from which a version flags an event; None without its manifest."""
        manifest = self._manifest(version)
        return manifest.threshold if manifest is not None else None

    def reference(self, version: str) -> Reference | None:
        """Reference of a version, built when it is missing; None when that is impossible."""
        if version not in self._references:
            manifest = self._manifest(version)
            if manifest is None:
                return None
            try:
                self._references[version] = load_reference(build_reference(self._settings, manifest))
            except HeadraceError as error:
                self._say("no reference to compare with", str(error.args[0]), version=version)
                return None
            while len(self._references) > _KEPT:
                self._references.popitem(last=False)
        self._references.move_to_end(version)
        return self._references[version]

    def _manifest(self, version: str) -> ModelManifest | None:
        if version and version not in self._manifests:
            path = self._settings.models_dir / self._model / version / MANIFEST_FILE
            try:
                self._manifests[version] = read_manifest(path, ModelManifest)
            except IntegrityError as error:
                self._say("no manifest of a version in use", str(error.args[0]), version=version)
        return self._manifests.get(version)

    def _say(self, event: str, reason: str, **fields: str) -> None:
        """Warn once about each trouble."""
        if reason not in self._troubles:
            self._troubles.add(reason)
            _log.warning(event, model=self._model, reason=reason, **fields)
