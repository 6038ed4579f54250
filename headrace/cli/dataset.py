"""``headrace dataset``: build, show and verify training sets."""

import argparse
import dataclasses
import json
from typing import TYPE_CHECKING

from headrace.cli.feature_out_of_core import add_ray, memory_bytes, where_answered
from headrace.cli.instants import instant
from headrace.cli.pace import Pace
from headrace.cli.teller import Teller
from headrace.clock import SystemClock, format_us
from headrace.config import load_settings
from headrace.spec.project import load_project

if TYPE_CHECKING:
    from headrace.contracts.artifacts import DatasetManifest


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the three actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="build a training set from the offline log")
    build.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    build.add_argument("--model", help="which model, when the project has several")
    build.add_argument("--from", dest="start", required=True, metavar="T", help="first event time, ISO 8601 with zone")
    build.add_argument("--until", dest="end", required=True, metavar="T", help="event time after the last")
    build.add_argument(
        "--as-of",
        metavar="T",
        help="as_served: use only what was known then; corrected: rows whose labels were due then (default: now)",
    )
    build.add_argument(
        "--mode",
        choices=("as_served", "corrected"),
        default="as_served",
        help="as_served: only what had arrived at each event; corrected: late events too (default: %(default)s)",
    )
    build.add_argument("--memory", metavar="SIZE", help="hold about so much of the log at once (500MB, 4GB)")
    add_ray(build)
    show = actions.add_parser("show", help="print the manifest of a training set")
    verify = actions.add_parser("verify", help="check the rows of a training set against its digest")
    verify.add_argument("--project", help="also compute it again from the offline log with this project's definitions")
    for action in (show, verify):
        action.add_argument("dataset", metavar="ID")
    for action in (build, show, verify):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    actions = {"build": _build, "show": _show, "verify": _verify}
    manifest = actions[args.action](args)
    _print(manifest, as_json=args.json)
    return 0


def _build(args: argparse.Namespace) -> "DatasetManifest":
    from feature_store.training.dataset import build_dataset, knowledge_time

    project = load_project(args.project)
    model = project.only_model(args.model)
    with Teller() as tell:
        return build_dataset(
            load_settings(),
            project,
            model,
            start_us=instant(args.start, "--from"),
            end_us=instant(args.end, "--until"),
            as_of_us=knowledge_time(
                instant(args.as_of, "--as-of") if args.as_of else None, now_us=SystemClock().now_us()
            ),
            mode=args.mode,
            memory_bytes=memory_bytes(args.memory) if args.memory else None,
            run=where_answered(args, project),
            tell=lambda sentence: tell("dataset", sentence),
            track=Pace(lambda sentence: tell("dataset", sentence)),
        )


def _show(args: argparse.Namespace) -> "DatasetManifest":
    from headrace.contracts.artifacts import DatasetManifest
    from headrace.dataset_format import MANIFEST_FILE, folder_of
    from headrace.manifest_file import read_manifest

    return read_manifest(folder_of(load_settings().datasets_dir, args.dataset) / MANIFEST_FILE, DatasetManifest)


def _verify(args: argparse.Namespace) -> "DatasetManifest":
    from feature_store.training.dataset import verify_dataset

    with Teller() as tell:
        tell("dataset", "reading the rows" + (" and computing them again" if args.project else ""))
        manifest = verify_dataset(
            load_settings(),
            load_project(args.project) if args.project else None,
            args.dataset,
            track=Pace(lambda sentence: tell("dataset", sentence)),
        )
        tell("dataset", f"{manifest.rows:,} rows match digest {manifest.content_hash[:12]}")
    return manifest


def _print(manifest: "DatasetManifest", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(manifest)))
        return
    share = manifest.positives / manifest.rows if manifest.rows else 0.0
    lines = {
        "data set": manifest.dataset_id,
        "model": manifest.model,
        "rows": f"{manifest.rows:,}, {manifest.positives:,} positive ({share:.2%})",
        "events": f"{format_us(manifest.start_us)} to {format_us(manifest.end_us)}",
        "known at": f"{format_us(manifest.as_of_us)}, {manifest.mode}",
        "features": str(len(manifest.features)),
        "definitions": ", ".join(f"{name} {version}" for name, version in manifest.definitions.items()),
        "sources": ", ".join(f"{name} to {offset}" for name, offset in manifest.sources.items()) or "a table",
        "digest": manifest.content_hash,
    }
    for name, value in lines.items():
        print(f"{name:<12} {value}")
