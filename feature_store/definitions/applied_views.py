"""Which definition of each view the stream computes: one file beside the state, changed as a whole.

    <state_dir>/<project>/views.json     written when a worker accepts a definition, and when a backfill has ended

A view that is ``live`` is opened by the worker. One that is ``waiting`` has events behind it that its state does not
know; it is opened once `headrace backfill` has computed them.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from headrace.config import Settings
from headrace.manifest_file import read_manifest, write_manifest
from headrace.spec.project import Project
from headrace.spec.view_definition import ViewDefinition

__all__ = ["AppliedView", "AppliedViews", "applied_path", "change_applied", "read_applied", "waiting_views"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedView:
    """One view as it was last accepted."""

    definition: ViewDefinition
    waiting_for: str = ""
    """Version whose history is to be computed first; empty when there is none, and the definition is live."""
    is_defined: bool = True
    """Whether the worker that started last had it; one that is not defined can be retired."""
    rows_per_s: float = 0.0
    """Events per second of its last backfill; 0 when there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedViews:
    """Every view of a project that has state."""

    views: dict[str, AppliedView] = field(default_factory=dict)
    readers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """View -> models that read it, as the project had them."""

    @property
    def definitions(self) -> dict[str, ViewDefinition]:
        """Name -> what is computed, or was until it began to wait."""
        return {
            name: view.definition for name, view in self.views.items() if view.waiting_for != view.definition.version
        }

    def is_live(self, name: str, version: str) -> bool:
        """Whether the worker computes this version of a view."""
        known = self.views.get(name)
        return known is not None and not known.waiting_for and known.definition.version == version

    def with_view(self, view: AppliedView) -> "AppliedViews":
        """With one view as given."""
        return replace(self, views={**self.views, view.definition.name: view})

    def without(self, name: str) -> "AppliedViews":
        """With one view forgotten."""
        return replace(self, views={known: view for known, view in self.views.items() if known != name})


def applied_path(settings: Settings, project: str) -> Path:
    """The file."""
    return settings.state_dir / project / "views.json"


def read_applied(settings: Settings, project: str) -> AppliedViews | None:
    """What was accepted last; None when no worker has run since there is such a file.

    Raises:
        IntegrityError: the file cannot be read.
    """
    path = applied_path(settings, project)
    return read_manifest(path, AppliedViews) if path.exists() else None


def waiting_views(settings: Settings, project: Project) -> tuple[str, ...]:
    """Names of the views a worker has accepted and leaves closed until they have been backfilled.

    Raises:
        IntegrityError: the file cannot be read.
    """
    known = read_applied(settings, project.name) or AppliedViews()
    return tuple(view.name for view in project.views if view.name in known.views and known.views[view.name].waiting_for)


@contextlib.contextmanager
def change_applied(settings: Settings, project: str) -> Iterator["_Pen"]:
    """Read, change and write in one step; others who want to change it wait."""
    path = applied_path(settings, project)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(".views.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        pen = _Pen(read_applied(settings, project))
        yield pen
        if pen.views is not None and pen.views != pen.before:
            write_manifest(path, pen.views)


class _Pen:
    """What is written when the block ends."""

    def __init__(self, before: AppliedViews | None) -> None:
        self.before = before
        self.views = before
