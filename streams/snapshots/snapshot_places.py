"""Which store holds the snapshots of which task.

<root>/<project>/views/<view>/<definition>/partition=<n>      root: stream.state_url, else <home>/data/state
"""

import shutil
from pathlib import Path

from headrace.config import Settings
from streams.snapshots.object_store import ObjectStore, folders_below, remove_folder
from streams.snapshots.snapshot_store import FolderStore, SnapshotStore

__all__ = ["definitions_saved", "partitions_saved", "remove_definition", "snapshot_store"]

_LOCAL = "file://"


def snapshot_store(settings: Settings, project: str, view: str, definition: str, partition: int) -> SnapshotStore:
    """Snapshots of one task."""
    return _store(f"{_root(settings)}/{project}/views/{view}/{definition}/partition={partition}")


def partitions_saved(settings: Settings, project: str, view: str, definition: str) -> list[int]:
    """Partitions of a view that have a place, in order."""
    names = _folders(f"{_root(settings)}/{project}/views/{view}/{definition}")
    return sorted(int(name.partition("=")[2]) for name in names if name.startswith("partition="))


def definitions_saved(settings: Settings, project: str) -> list[tuple[str, str]]:
    """Names of views and versions of definitions that have a place."""
    views = f"{_root(settings)}/{project}/views"
    return [(view, definition) for view in _folders(views) for definition in _folders(f"{views}/{view}")]


def remove_definition(settings: Settings, project: str, view: str, definition: str) -> None:
    """Remove the state of one definition."""
    place = f"{_root(settings)}/{project}/views/{view}/{definition}"
    if _is_url(place):
        remove_folder(place)
    else:
        shutil.rmtree(place)


def _root(settings: Settings) -> str:
    """A path, or an address of fsspec."""
    given = settings.stream.state_url.rstrip("/")
    return given.removeprefix(_LOCAL) or str(settings.state_dir)


def _is_url(place: str) -> bool:
    return "://" in place


def _store(place: str) -> SnapshotStore:
    return ObjectStore(place) if _is_url(place) else FolderStore(Path(place))


def _folders(place: str) -> list[str]:
    if _is_url(place):
        return folders_below(place)
    return sorted(path.name for path in Path(place).glob("*") if path.is_dir())
