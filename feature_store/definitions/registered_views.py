"""Which definitions `headrace apply` registered last: what a worker that runs should know.

<state_dir>/<project>/registered.json
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace.config import Settings
from headrace.manifest_file import read_manifest, write_manifest
from headrace.spec.project import Project
from headrace.spec.view_definition import describe_views

__all__ = ["differing_views", "read_registered", "versions_of", "write_registered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registered:
    views: dict[str, str] = field(default_factory=dict)
    """View -> version of its definition."""


def versions_of(project: Project) -> dict[str, str]:
    """View -> version of its definition."""
    return {name: definition.version for name, definition in describe_views(project).items()}


def write_registered(settings: Settings, project: Project) -> None:
    """Note the definitions of a project.

    Raises:
        HeadraceError: the file cannot be written.
    """
    write_manifest(_path(settings, project.name), _Registered(views=versions_of(project)))


def read_registered(settings: Settings, project: str) -> dict[str, str] | None:
    """What was noted last; None when nothing ever was.

    Raises:
        IntegrityError: the file cannot be read.
    """
    path = _path(settings, project)
    return read_manifest(path, _Registered).views if path.exists() else None


def differing_views(known: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Views of which two sets of definitions say something different.

    >>> differing_views({"a": "1", "b": "1"}, {"a": "1", "b": "2", "c": "1"})
    ['b', 'c']
    """
    return sorted(name for name in known.keys() | wanted.keys() if known.get(name) != wanted.get(name))


def _path(settings: Settings, project: str) -> Path:
    return settings.state_dir / project / "registered.json"
