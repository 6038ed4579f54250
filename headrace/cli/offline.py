"""``headrace offline``: look after the files of the offline logs: list, compact, and let the oldest go."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.teller import Teller
from headrace.clock import format_us
from headrace.config import Settings, load_settings
from headrace.errors import ConfigError
from headrace.spec.project import Project, load_project

if TYPE_CHECKING:
    from feature_store.offline.offline_log import LogKind

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the three actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    files = actions.add_parser("files", help="list the files that count, for any Parquet reader")
    files.add_argument("kind", nargs="?", choices=("events", "labels", "features"), help="only this kind of log")
    files.add_argument("name", nargs="?", help="only this stream, label stream or view")
    compact = actions.add_parser("compact", help="merge small files into large ones, beside a running stream")
    compact.add_argument(
        "--target-mb", type=int, default=64, metavar="MB", help="size of a file (default: %(default)s)"
    )
    compact.add_argument(
        "--drop-superseded",
        action="store_true",
        help="leave out feature rows a newer one replaces; Feast's filter_by_created_timestamp then sees less",
    )
    retain = actions.add_parser("retain", help="remove files older than [offline] *_retention in headrace.toml")
    retain.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    retain.add_argument(
        "--give-up-rebuilds", action="store_true", help="also remove what an existing training set was built from"
    )
    for action in (files, compact, retain):
        action.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
        action.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "Layout, reading with DuckDB, polars or Spark, and the rules: docs/offline.md"


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    settings, project = load_settings(), load_project(args.project)
    if args.action == "files":
        found: Any = [str(path) for path in _files(settings, project, args.kind, args.name)]
        print(json.dumps({"files": found}) if args.json else "\n".join(found))
        return 0
    with Teller() as tell:
        entries = list((_compact if args.action == "compact" else _retain)(settings, project, args, tell))
    if args.json:
        print(json.dumps({args.action: entries}))
    elif not entries:
        print("nothing to do")
    return 0


def logs_of(project: Project) -> "list[tuple[LogKind, str]]":
    """(kind, name) of every log of a project."""
    events: list[tuple[LogKind, str]] = [("events", stream.name) for stream in project.streams]
    labels: list[tuple[LogKind, str]] = [("labels", labels.name) for labels in project.labels]
    return [*events, *labels, *(("features", view.name) for view in project.views)]


def _files(settings: Settings, project: Project, kind: str | None, name: str | None) -> Iterator[Path]:
    from feature_store.offline.offline_log import log_folder, segments_below

    for log, called in logs_of(project):
        if kind in (None, log) and name in (None, called):
            for segment in segments_below(log_folder(settings.offline_dir, project.name, log, called)):
                yield segment.path


def _compact(settings: Settings, project: Project, args: argparse.Namespace, tell: Teller) -> Iterator[dict[str, Any]]:
    from feature_store.offline.log_lock import upkeep_lock
    from feature_store.offline.offline_log import log_folder
    from feature_store.upkeep.compaction import compact, feature_order

    if args.target_mb < 1:
        raise ConfigError(f"--target-mb is {args.target_mb}", hint="give 1 or more; 64 suits most")
    entities = {view.name: view.entity for view in project.views}
    with upkeep_lock(settings.offline_dir, project.name):
        for kind, name in logs_of(project):
            for folder in sorted(log_folder(settings.offline_dir, project.name, kind, name).glob("partition=*")):
                for done in compact(
                    folder,
                    below=_settled_below(settings, project, kind, name, folder),
                    order=feature_order(entities[name]) if kind == "features" else (),
                    drop_superseded=args.drop_superseded and kind == "features",
                    target_bytes=args.target_mb * 1024 * 1024,
                ):
                    tell(
                        kind,
                        f"{name} {folder.name}: {done.files} files are one of {done.rows:,} rows,"
                        f" {done.bytes_before / 1e6:.1f} MB before and {done.bytes_after / 1e6:.1f} MB now"
                        + (f", {done.superseded:,} superseded rows left out" if done.superseded else ""),
                    )
                    yield {
                        "log": f"{kind}/{name}",
                        "path": str(done.path),
                        "files": done.files,
                        "rows": done.rows,
                        "superseded": done.superseded,
                        "bytes_before": done.bytes_before,
                        "bytes_after": done.bytes_after,
                    }


def _settled_below(settings: Settings, project: Project, kind: str, name: str, folder: Path) -> int:
    """Offset below which no restart takes a segment back."""
    from feature_store.offline.log_bounds import committed_below
    from feature_store.plan import compile_view
    from streams.snapshots.snapshot_chain import offsets_kept
    from streams.snapshots.snapshot_places import snapshot_store

    if kind != "features":
        return committed_below(folder)
    version = compile_view(project.view(name)).version
    partition = int(folder.name.partition("=")[2])
    kept = offsets_kept(snapshot_store(settings, project.name, name, version, partition))
    return kept[0] + 1 if kept else 0


def _retain(settings: Settings, project: Project, args: argparse.Namespace, tell: Teller) -> Iterator[dict[str, Any]]:
    from feature_store.offline.log_lock import upkeep_lock
    from feature_store.upkeep.retention import check_datasets, due, remove, retentions

    with upkeep_lock(settings.offline_dir, project.name):
        wanted = retentions(settings.offline, project)
        if not wanted:
            tell("retention", "no retention is set under [offline]; everything is kept")
        removals = [removal for log in wanted for removal in due(settings.offline_dir, project, log)]
        if not args.give_up_rebuilds:
            check_datasets(project, removals, _manifests(settings))
        for removal in removals if args.dry_run else remove(removals):
            log = removal.log
            tell(
                log.kind,
                f"{log.name}: {removal.segment.path.parent.name}/{removal.segment.path.name},"
                f" {removal.rows:,} rows up to {format_us(removal.newest_us)},"
                f" {'would be removed' if args.dry_run else 'removed'}",
            )
            yield {
                "log": f"{log.kind}/{log.name}",
                "path": str(removal.segment.path),
                "rows": removal.rows,
                "newest": format_us(removal.newest_us),
                "removed": not args.dry_run,
            }


def _manifests(settings: Settings) -> Iterator[Any]:
    from headrace.contracts.artifacts import DatasetManifest
    from headrace.dataset_format import DATA_FILE, MANIFEST_FILE
    from headrace.manifest_file import read_manifest

    for path in sorted(settings.datasets_dir.glob(f"*/{MANIFEST_FILE}")):
        if (path.parent / DATA_FILE).exists():
            yield read_manifest(path, DatasetManifest)
