"""``headrace bench NAME``: measure a part beside its peer in the same run."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.bench.row import BenchRow
    from headrace.bench.stream_bench import Rate, StreamResult

BENCHES = {
    "stream": "Kafka to exact features in Redis, one process on one core, beside Faust and a loop by hand",
    "backfill": "every feature of a file of events, beside polars",
    "dataset": "a training set from stored features, beside Feast and DuckDB; with --from-events from raw events",
    "lookup": "rows looked up online, beside Feast",
    "http": "rows looked up over HTTP, one worker, beside Feast's own server",
    "growth": "an event's cost, memory and a restart as keys and partitions grow, beside the fewest of them",
    "latency": "age of an event when its features can be read, at 10,000 events a second, beside the broker alone",
    "write": "rows written online, beside Feast",
}
"""Name -> what it measures."""

_STREAM_GOALS = {"json": 1_000_000, "avro": 800_000, "arrow": 2_000_000}
"""Format -> events/s of one core."""

_FUNCTIONS = {
    "backfill": ("file_bench", "run_backfill"),
    "dataset": ("table_bench", "run_tables"),
    "dataset --from-events": ("file_bench", "run_dataset"),
    "lookup": ("online_bench", "run_lookup"),
    "http": ("http_bench", "run_http"),
    "growth": ("growth_bench", "run_growth"),
    "latency": ("latency_bench", "run_latency"),
    "write": ("online_bench", "run_write"),
}
"""Name -> module of headrace.bench and its function; imported when asked for, as some take seconds."""


def configure(parser: argparse.ArgumentParser) -> None:
    names = "\n".join(f"  {name:<8} {what}" for name, what in BENCHES.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"benchmarks:\n{names}\n\nServers are started for the run and stopped after it."
    parser.add_argument("name", metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--project", default="examples/fraud", type=Path, help="project folder (default: %(default)s)")
    parser.add_argument(
        "--format", choices=_STREAM_GOALS, default="json", help="stream: how events are written (default: %(default)s)"
    )
    parser.add_argument(
        "--from-events", action="store_true", help="dataset: compute the features, stored ones are not read"
    )
    parser.add_argument("--keys", type=int, help="growth: of the largest state (default: 10,000,000)")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object for each row, and nothing else",
    )


def run(args: argparse.Namespace) -> int:
    if args.name not in BENCHES:
        raise ConfigError(f"benchmark {args.name!r} is unknown", hint=f"use one of {', '.join(BENCHES)}")
    if args.format != "json" and args.name != "stream":
        raise ConfigError(f"--format says nothing to {args.name}", hint="use it with stream")
    if args.from_events and args.name != "dataset":
        raise ConfigError(f"--from-events says nothing to {args.name}", hint="use it with dataset")
    if args.keys is not None and args.name != "growth":
        raise ConfigError(f"--keys says nothing to {args.name}", hint="use it with growth")
    if args.keys is not None and args.keys < 1:
        raise ConfigError(f"--keys is {args.keys}", hint="give a whole number, 1 or more")
    if args.name != "stream":
        options = {} if args.keys is None else {"keys": args.keys}
        return _measure(args.name + (" --from-events" if args.from_events else ""), options, as_lines=args.json)
    if not (args.project / "fraud.py").is_file():
        raise ConfigError(f"project {args.project} is not the fraud example", hint="run it in the checkout")
    from headrace.bench.stream_bench import run_stream_bench

    result = run_stream_bench(args.project, everything=not args.json, say=_say, form=args.format)
    if args.json:
        _print_lines(_stream_rows(result, args.format), result.machine)
    else:
        _print_table(result)
    return 0


def _measure(name: str, options: dict[str, int], *, as_lines: bool) -> int:
    from headrace.bench.row import print_rows

    module, function = _FUNCTIONS[name]
    rows, machine = getattr(importlib.import_module(f"headrace.bench.{module}"), function)(_say, **options)
    if as_lines:
        _print_lines(rows, machine)
    else:
        print_rows(rows, machine)
    return 0


def _print_lines(rows: Sequence["BenchRow"], machine: str) -> None:
    from headrace.bench.row import as_json

    for row in rows:
        print(json.dumps(as_json(row, machine)))


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _stream_rows(result: "StreamResult", form: str) -> list["BenchRow"]:
    from headrace.bench.row import BenchRow

    name = "stream" if form == "json" else f"stream --format {form}"
    names = {"loop": f"{name}, beside a loop by hand", "faust": name}
    return [
        BenchRow(
            name=names[peer],
            value=round(result.online.per_second),
            unit="events/s/core",
            goal=_STREAM_GOALS[form],
            peer=peer,
            peer_value=round(result.peers[peer].per_second),
            note=f"{result.online.cpu_us:.2f} µs of CPU an event",
        )
        for peer in names
    ]


def _print_table(result: "StreamResult") -> None:
    rows: list[tuple[str, Rate]] = [("headrace, 12 features to Redis", result.online)]
    if result.logged is not None:
        rows.append(("headrace, feature log to Parquet too", result.logged))
    if result.labelled is not None:
        rows.append(("headrace, fraud example, labels joined", result.labelled))
    rows.append(("loop by hand, deques, Redis pipeline", result.peers["loop"]))
    rows.append(("Faust agent, deques, Redis pipeline", result.peers["faust"]))
    print(f"{'one process on one core':<38}{'events':>10}{'events/s':>12}{'µs of CPU':>12}{'x Faust':>9}{'x loop':>8}")
    for name, rate in rows:
        ratios = [rate.per_second / result.peers[peer].per_second for peer in ("faust", "loop")]
        print(
            f"{name:<38}{rate.events:>10,}{rate.per_second:>12,.0f}{rate.cpu_us:>12.2f}{ratios[0]:>9.1f}{ratios[1]:>8.1f}"
        )
    print(result.machine)
