"""``headrace demo``: the whole loop on the fraud example, told as it happens."""

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="Parquet file of events with labels; generated data when absent")
    parser.add_argument("--days", type=int, help="replay only the first so many days")
    parser.add_argument(
        "--home", type=Path, default=Path(".headrace-demo"), help="emptied first (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("out/demo"), help="pictures and page (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    from headrace.demo.narrator import Narrator
    from headrace.demo.source import generated, read_file
    from headrace.demo.story import FIRST_MODEL_DAY, LAST_DAYS, run_demo
    from headrace.errors import ConfigError
    from headrace.spec.project import load_project

    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out {args.out} is a file", hint="name a folder for pictures and page")
    project = load_project(args.project)
    if not project.models:
        raise ConfigError(f"project {project.name!r} declares no model", hint="the demo needs one to keep right")
    model = project.models[0]
    data = args.data
    source = (
        read_file(data, model.events, model.label, days=args.days)
        if data
        else generated(model.events, model.label, days=args.days)
    )
    least = FIRST_MODEL_DAY + LAST_DAYS + 1
    if source.days < least:
        raise ConfigError(f"{source.days} days are too few for the story", hint=f"give at least {least}")
    kept = run_demo(args.home.absolute(), project, model, source, out=args.out.absolute(), narrator=Narrator())
    if not kept:
        print("headrace demo: a promise was broken", file=sys.stderr)
    return 0 if kept else 1
