"""``headrace features``: list, show and plan what is declared, compute a file, look values up online."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.cli.feature_changes import show_plan
from headrace.cli.feature_out_of_core import add_out_of_core, compute_out_of_core
from headrace.cli.feature_pictures import show_features
from headrace.cli.feature_retire import retire
from headrace.clock import format_us, parse_us
from headrace.config import load_settings
from headrace.errors import ConfigError, HeadraceError
from headrace.spec.durations import format_duration
from headrace.spec.features import Feature, FeatureView
from headrace.spec.project import Project, load_project
from headrace.spec.streams import EventStream
from headrace.spec.types import String


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="show every feature with its type and window")
    show = actions.add_parser("show", help="explain a view or a feature, its windows drawn as timelines")
    show.add_argument("name", metavar="VIEW|FEATURE", help="such as customer_activity or customer_activity__count_7d")
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
        "list": _list,
        "show": show_features,
        "compute": _compute,
        "lookup": _lookup,
        "plan": show_plan,
        "retire": retire,
    }
    return actions[args.action](project, args)


def _list(project: Project, args: argparse.Namespace) -> int:
    rows = [
        {"name": name, "type": _type(feature), "of": view.entity, "what": _describe(feature, view)}
        for view in project.views
        for feature, name in zip(view.features, view.full_names, strict=True)
    ]
    rows += [
        {"name": name, "type": "number", "of": request.of.name, "what": "computed from the event itself"}
        for request in project.requests
        for name in request.full_names
    ]
    rows += [
        {"name": name, "type": "number", "of": ", ".join(item.name for item in derived.of), "what": "derived from them"}
        for derived in project.derived
        for name in derived.full_names
    ]
    if args.json:
        print(json.dumps({"project": project.name, "features": rows}))
        return 0
    widths = [max((len(row[column]) for row in rows), default=0) for column in ("name", "type", "of")]
    for row in rows:
        print("  ".join(row[c].ljust(w) for c, w in zip(("name", "type", "of"), widths, strict=True)), row["what"])
    return 0


def _type(feature: Feature) -> str:
    return f"{feature.value_type.__name__}{'List' if feature.is_list else ''}"


def _describe(feature: Feature, view: FeatureView) -> str:
    text = f"{feature.kind} of {feature.column or 'events'}"
    if feature.aggregation.where is not None:
        text += f" where {feature.aggregation.where.slug.replace('_', ' ')}"
    text += f" over {feature.window.name.replace('_', ' ')}"
    if feature.delay_us:
        text += f", {format_duration(feature.delay_us)} ago"
    return f"{text}, closed {view.closed}"


def _compute(project: Project, args: argparse.Namespace) -> int:
    started = time.perf_counter()
    stream = project.stream(args.stream) if args.stream else project.only_stream()

    def tell_view(view: str, rows: int, seconds: float) -> None:
        _tell(f"{view}: {rows:,} rows in {seconds:.2f} s, {rows / max(seconds, 1e-9):,.0f} per second")

    compute = compute_out_of_core if args.memory or args.ray else _compute_in_memory
    rows, columns, computed_s = compute(project, stream, args, tell_view)
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
        _tell("{rows:,} rows x {features} features in {compute_s} s -> {out}".format(**outcome))
    return 0


def _compute_in_memory(
    project: Project, stream: EventStream, args: argparse.Namespace, tell: Callable[[str, int, float], None]
) -> tuple[int, int, float]:
    """Rows, columns and seconds of the computation alone."""
    import pyarrow.parquet as pq

    from feature_store.compute import compute_file

    started = time.perf_counter()
    events = _read(args.events)
    labels = _read(args.labels) if args.labels else None
    _tell(f"{events.num_rows:,} events read in {time.perf_counter() - started:.2f} s")
    began = time.perf_counter()
    table = compute_file(project, stream, events, labels, progress=tell)
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


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ConfigError(f"{path} is no file", hint="give a Parquet file")
    try:
        return pq.read_table(path)
    except pa.ArrowException as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}", hint="give a Parquet file") from error


def _lookup(project: Project, args: argparse.Namespace) -> int:
    from feature_store.online.lookup import LookupRequest, OnlineReader

    entities = _entities(project, args.entities)
    views = [project.view(name) for name in args.view] or [v for v in project.views if v.entity in entities]
    reader = OnlineReader(load_settings().redis.url, project)
    try:
        at_us = parse_us(args.at) if args.at else None
    except ValueError as error:
        raise ConfigError(f"--at: {error}") from error
    request = LookupRequest(views=views, entities=entities, at_us=at_us, own=None)
    try:
        rows = reader.read([request])[0]
    finally:
        reader.close()
    if args.json:
        print(json.dumps({name: {"status": row.status, "values": row.values} for name, row in rows.items()}))
        return 0
    for name, row in rows.items():
        since = "" if row.event_time_us is None else f" since {format_us(row.event_time_us)}"
        print(f"{name}: {row.status}{since}")
        for feature, value in row.values.items():
            print(f"  {feature} = {'null' if value is None else value}")
    return 0


def _entities(project: Project, words: list[str]) -> dict[str, int | str]:
    entities: dict[str, int | str] = {}
    types = {view.entity: view.source.schema[view.entity] for view in project.views}
    for word in words:
        name, given, key = word.partition("=")
        if name not in types or not given:
            raise ConfigError(f"entity {word!r} is not understood", hint=f"write one of {sorted(types)}, '=', its key")
        try:
            entities[name] = key if isinstance(types[name], String) else int(key)
        except ValueError as error:
            raise ConfigError(f"{name} is {key!r}, not a whole number") from error
    return entities


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
