"""``headrace apply``: register a project's definitions in Feast, after showing what would change."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from headrace.config import load_settings
from headrace.spec.project import load_project

if TYPE_CHECKING:
    from feature_store.definitions.feast_registry import Change

__all__ = ["configure", "run"]

_COLOURS = {"new": "green", "changed": "yellow", "unchanged": "dim", "undefined": "magenta"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only show what would change")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    project = load_project(args.project)
    from feature_store.definitions.feast_registry import FeastRegistry
    from feature_store.definitions.registered_views import differing_views, versions_of, write_registered
    from streams.worker_lock import RESTART, running_workers

    settings = load_settings()
    registry = FeastRegistry(settings, project)
    changes = registry.plan()
    if not args.json:
        _show(project.name, changes)
    applied = not args.dry_run
    if applied:
        registry.apply()
        write_registered(settings, project)
    outdated = {
        worker.pid: differing
        for worker in running_workers(settings)
        if worker.project == project.name and (differing := differing_views(worker.views, versions_of(project)))
    }
    if args.json:
        content = {"project": project.name, "applied": applied, "plan": [asdict(c) for c in changes]}
        print(json.dumps({**content, "restart": outdated}, indent=2))
        return 0
    if not applied:
        print("Nothing was registered (--dry-run).")
    for pid, views in outdated.items():
        print(f"The stream worker with pid {pid} began with other definitions of {', '.join(views)}: {RESTART}")
    return 0


def _show(project: str, changes: "list[Change]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "", "object", "name", "what changes", title=f"Feast registry of project {project}", title_justify="left"
    )
    for change in changes:
        table.add_row(change.change, change.kind, change.name, change.detail, style=_COLOURS[change.change])
    console = Console()
    console.print(table)
    counts = {kind: sum(change.change == kind for change in changes) for kind in _COLOURS}
    console.print(", ".join(f"{count} {kind}" for kind, count in counts.items() if count))
