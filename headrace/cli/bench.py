"""``headrace bench NAME``: measure a part beside its peer in the same run."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.errors import ConfigError

if TYPE_CHECKING:
    from headrace.bench.stream_bench import Rate, StreamResult

BENCHES = {
    "stream": "Kafka JSON to exact features in Redis, one process on one core, beside a Faust agent",
    "backfill": "every feature of a file of events, beside polars",
    "dataset": "a training set from raw events, beside DuckDB",
    "lookup": "rows looked up online, beside Feast",
    "http": "rows looked up over HTTP, one worker, beside Feast's own server",
    "write": "rows written online, beside Feast",
}
"""Name -> what it measures."""

_FUNCTIONS = {
    "backfill": ("file_bench", "run_backfill"),
    "dataset": ("file_bench", "run_dataset"),
    "lookup": ("online_bench", "run_lookup"),
    "http": ("http_bench", "run_http"),
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
        "--json",
        action="store_true",
        help="print one JSON object for each row, and nothing else",
    )


def run(args: argparse.Namespace) -> int:
    if args.name not in BENCHES:
        raise ConfigError(f"benchmark {args.name!r} is unknown", hint=f"use one of {', '.join(BENCHES)}")
    if args.name != "stream":
        return _measure(args.name, as_lines=args.json)
    if not (args.project / "fraud.py").is_file():
        raise ConfigError(f"project {args.project} is not the fraud example", hint="run it in the checkout")
    from headrace.bench.stream_bench import run_stream_bench

    result = run_stream_bench(args.project, everything=not args.json, say=_say)
    if args.json:
        print(json.dumps(_as_json(result)))
    else:
        _print_table(result)
    return 0


def _measure(name: str, *, as_lines: bool) -> int:
    from headrace.bench.row import as_json, print_rows

    module, function = _FUNCTIONS[name]
    rows, machine = getattr(importlib.import_module(f"headrace.bench.{module}"), function)(_say)
    if as_lines:
        for row in rows:
            print(json.dumps(as_json(row, machine)))
    else:
        print_rows(rows, machine)
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _as_json(result: "StreamResult") -> dict[str, object]:
    return {
        "name": "stream",
        "value": round(result.online.per_second),
        "unit": "events/s/core",
        "peer": "faust",
        "peer_value": round(result.peer.per_second),
        "ratio": round(result.online.per_second / result.peer.per_second, 1),
        "machine": result.machine,
    }


def _print_table(result: "StreamResult") -> None:
    rows: list[tuple[str, Rate]] = [("headrace, 12 features to Redis", result.online)]
    if result.logged is not None:
        rows.append(("headrace, feature log to Parquet too", result.logged))
    if result.labelled is not None:
        rows.append(("headrace, fraud example, labels joined", result.labelled))
    rows.append(("Faust agent, deques, Redis pipeline", result.peer))
    print(f"{'one process on one core':<38}{'events':>10}{'events/s':>12}{'CPU µs/event':>14}{'ratio':>8}")
    for name, rate in rows:
        ratio = rate.per_second / result.peer.per_second
        print(f"{name:<38}{rate.events:>10,}{rate.per_second:>12,.0f}{rate.cpu_us:>14.2f}{ratio:>8.1f}")
    print(result.machine)
