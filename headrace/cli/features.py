"""``headrace features``: list, show and plan what is declared, compute a file, look values up online."""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from headrace.cli.feature_changes import show_plan
from headrace.cli.feature_list import list_features
from headrace.cli.feature_lookup import look_up
from headrace.cli.feature_out_of_core import add_out_of_core, check_spill, compute_out_of_core
from headrace.cli.feature_pictures import show_features
from headrace.cli.feature_retire import retire
from headrace.cli.output_file import check_output
from headrace.cli.pace import Pace
from headrace.cli.parquet_input import read_parquet
from headrace.cli.teller import Teller
from headrace.errors import ConfigError, HeadraceError
from headrace.spec.project import Project, load_project
from headrace.spec.streams import EventStream


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show every feature with its type and window")
    show = actions.add_parser("show", help="explain what is defined: windows as timelines, functions as written")
    show.add_argument("name", metavar="NAME", help="such as customer_activity, customer_activity__count_7d or calendar")
    compute = actions.add_parser("compute", help="compute every feature for every event of a Parquet file")
    compute.add_argument("--events", required=True, type=Path, metavar="E.parquet")
    compute.add_argument(
        "--labels", type=Path, metavar="L.parquet", help="event ids and outcomes, unless the events carry them"
    )
    compute.add_argument("--out", required=True, type=Path, metavar="F.parquet", help="appears when it is complete")
    add_out_of_core(compute)
    compute.add_argument("--stream", help="which event stream the file holds, when the project has several")
    lookup = actions.add_parser("lookup", help="read the values of entities from the online store")
    lookup.add_argument("entities", nargs="+", metavar="ENTITY=KEY", help="such as customer_id=42")
    lookup.add_argument("--view", action="append", default=[], help="may be repeated; else all views of the entities")
    lookup.add_argument("--at", help="instant to evaluate at, ISO 8601 with its zone; else the values as stored")
    planning = actions.add_parser("plan", help="say what the definitions of today would change, and what it costs")
    retiring = actions.add_parser("retire", help="remove what is stored of a view that is no longer defined")
    retiring.add_argument("view", metavar="VIEW")
    retiring.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    for action in (listing, show, compute, lookup, planning, retiring):
        action.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    project = load_project(args.project)
    actions = {
        "list": list_features,
        "show": show_features,
        "compute": _compute,
        "lookup": look_up,
        "plan": show_plan,
        "retire": retire,
    }
    return actions[args.action](project, args)


def _compute(project: Project, args: argparse.Namespace) -> int:
    started = time.perf_counter()
    stream = project.stream(args.stream) if args.stream else project.only_stream()
    check_output(args.out, {"--events": args.events, "--labels": args.labels})
    check_spill(args)
    if args.labels and project.labels_of(stream) is None:
        raise ConfigError(f"stream {stream.name!r} has no labels", hint="declare a LabelStream, or leave out --labels")
    compute = compute_out_of_core if args.memory or args.ray else _compute_in_memory
    with Teller() as teller:

        def tell(sentence: str) -> None:
            teller("compute", sentence)

        def tell_view(view: str, rows: int, seconds: float) -> None:
            tell(f"{view}: {rows:,} rows in {seconds:.2f} s, {rows / max(seconds, 1e-9):,.0f} per second")

        rows, columns, computed_s = compute(project, stream, args, progress=tell_view, track=Pace(tell), remark=tell)
    outcome = {
        "rows": rows,
        "features": columns - 1,
        "compute_s": round(computed_s, 3),
        "rows_per_s": round(rows / max(computed_s, 1e-9)),
        "total_s": round(time.perf_counter() - started, 3),
        "out": str(args.out),
    }
    if args.json:
        print(json.dumps(outcome))
    else:
        print("{rows:,} rows x {features} features in {compute_s} s -> {out}".format(**outcome), file=sys.stderr)
    return 0


def _compute_in_memory(
    project: Project, stream: EventStream, args: argparse.Namespace, **told: Any
) -> tuple[int, int, float]:
    """Rows, columns and seconds of the computation alone; ``told`` as :func:`feature_store.compute.compute_file`'s."""
    import pyarrow.parquet as pq

    from feature_store.compute import compute_file

    started = time.perf_counter()
    events = read_parquet(args.events)
    labels = read_parquet(args.labels) if args.labels else None
    told["remark"](f"{events.num_rows:,} events read in {time.perf_counter() - started:.2f} s")
    began = time.perf_counter()
    table = compute_file(project, stream, events, labels, **told)
    computed_s = time.perf_counter() - began
    args.out.parent.mkdir(parents=True, exist_ok=True)
    half = args.out.with_name(f"{args.out.name}.{os.getpid()}.part")
    try:
        pq.write_table(table, half, compression="zstd")
        half.replace(args.out)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise HeadraceError(
            f"{args.out} cannot be written: {error}", hint="free space or name another --out"
        ) from error
    return table.num_rows, table.num_columns, computed_s
