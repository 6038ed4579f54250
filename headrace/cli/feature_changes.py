"""``headrace features plan``: what the definitions of today would change, with its cost, before anything runs."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from headrace.cli.pace import duration_text
from headrace.config import Settings, load_settings
from headrace.errors import HeadraceError, UnavailableError
from headrace.spec.project import Project

if TYPE_CHECKING:
    from feature_store.definitions.change_plan import PlannedChange

__all__ = ["live_readers", "planned", "show_plan"]

_COLOURS = {
    "unchanged": "dim",
    "compatible": "green",
    "new": "cyan",
    "new version": "yellow",
    "removed": "magenta",
    "breaking": "red",
}


def show_plan(project: Project, args: argparse.Namespace, *, only: str = "") -> int:
    """Print the plan, of one view or of all; 1 when a change would break somebody."""
    plan, notes = planned(load_settings(), project, only=only)
    if args.json:
        entries = [dataclasses.asdict(change) for change in plan]
        print(json.dumps({"project": project.name, "plan": entries, "notes": notes}))
    else:
        _print(project.name, plan, notes)
    return int(any(change.change == "breaking" for change in plan))


def planned(settings: Settings, project: Project, *, only: str = "") -> "tuple[list[PlannedChange], list[str]]":
    """What is to be done about one view or all, and sentences about what could not be asked or does not know of it."""
    from feature_store.definitions.change_plan import plan_changes

    readers, notes = live_readers(settings, project)
    plan = [change for change in plan_changes(settings, project, readers) if only in ("", change.view)]
    notes += _unaware_workers(settings, project, [change.view for change in plan if change.change == "unchanged"])
    return plan, notes


def live_readers(settings: Settings, project: Project) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """View -> model versions in service that read it; and what could not be asked."""
    from headrace.contracts.artifacts import ModelManifest
    from headrace.manifest_file import read_manifest
    from headrace.rollout_store import RolloutStore

    found: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    published = [path.name for path in settings.models_dir.glob("*") if path.is_dir()]
    store = RolloutStore(settings.redis.url)
    try:
        for name in dict.fromkeys([*(model.name for model in project.models), *sorted(published)]):
            record = store.read(name)
            versions = [] if record is None else [record.champion, record.challenger]
            for version in filter(None, versions):
                path = settings.models_dir / name / version / "manifest.json"
                try:
                    needed = read_manifest(path, ModelManifest).definitions
                except HeadraceError as error:
                    notes.append(f"what {name} {version} reads is not known: {error.args[0]}")
                    continue
                for view in needed:
                    found[view] = (*found.get(view, ()), f"{name} {version}")
    except UnavailableError as error:
        notes.append(f"models in service were not asked: {error.args[0]}")
    finally:
        store.close()
    return found, notes


def _unaware_workers(settings: Settings, project: Project, unchanged: list[str]) -> list[str]:
    """A sentence for each worker that computes something else of a view of which there is nothing to do."""
    from feature_store.definitions.registered_views import differing_views, versions_of
    from streams.worker_lock import RESTART, running_workers

    notes = []
    for worker in running_workers(settings):
        if worker.project == project.name:
            other = [name for name in differing_views(worker.views, versions_of(project)) if name in unchanged]
            if other:
                names = ", ".join(other)
                notes.append(
                    f"the stream worker with pid {worker.pid} began with other definitions of {names}: {RESTART}"
                )
    return notes


def _print(project: str, plan: "list[PlannedChange]", notes: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "view", "change", "why", "rows to read", "time", "next", title=f"Views of {project}", title_justify="left"
    )
    for change in plan:
        about = "" if change.is_measured else "about "
        table.add_row(
            change.view,
            change.change,
            "\n".join(change.reasons),
            f"{change.rows:,}" if change.rows else "",
            f"{about}{duration_text(change.seconds)}" if change.rows else "",
            change.next_step,
            style=_COLOURS[change.change],
        )
    console = Console()
    console.print(table)
    for note in notes:
        console.print(note, style="yellow")
