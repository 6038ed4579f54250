"""``headrace publish``: a file of events and labels to Kafka, in time order."""

import argparse
import json
import sys
import time
from pathlib import Path

from headrace.clock import parse_us
from headrace.config import load_settings
from headrace.errors import ConfigError
from headrace.spec.project import load_project

DAY_US = 86_400_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--events", required=True, type=Path, help="Parquet file; column names in any case")
    parser.add_argument("--labels", type=Path, help="Parquet file of labels; absent when the events carry them")
    parser.add_argument("--stream", help="event stream, when the project has several")
    parser.add_argument("--until", help="publish what happens before this instant only (ISO 8601 with offset)")
    parser.add_argument("--speed", default="max", help="seconds of event time per second, or max (default)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    from streams.formats.event_file import read_event_file
    from streams.publisher import Publisher

    project = load_project(args.project)
    stream = project.stream(args.stream) if args.stream else project.only_stream()
    table, labels = read_event_file(args.events, args.labels, stream, project.labels_of(stream))
    publisher = Publisher(load_settings(), project, stream, table, labels)
    first_us, last_us = publisher.span_us
    until_us = min(_instant(args.until), last_us + 1) if args.until else last_us + 1
    speed = _speed(args.speed)
    started, published, at_us = time.monotonic(), 0, first_us
    step_us = DAY_US if speed is None else max(1, int(speed * 1e6))
    while at_us < until_us:
        at_us = min(at_us + step_us, until_us)
        published += publisher.publish_until(at_us, flush=at_us == until_us)
        spent = time.monotonic() - started
        if sys.stderr.isatty() or at_us == until_us:
            print(f"\r{published:,} events, {published / max(spent, 1e-9):,.0f}/s", end="", file=sys.stderr)
        if speed is not None:
            time.sleep(max(0.0, (at_us - first_us) / (speed * 1e6) - spent))
    if labels is not None and not args.until:
        publisher.publish_until(last_us + labels.delay_us + 1)
    print(file=sys.stderr)
    if args.json:
        print(json.dumps({"events": published, "seconds": round(time.monotonic() - started, 3)}))
    return 0


def _instant(text: str) -> int:
    try:
        return parse_us(text)
    except ValueError as error:
        raise ConfigError(f"--until: {error}") from error


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if speed <= 0:
        raise ConfigError(f"--speed is {text!r}", hint="give a number above 0, or max")
    return speed
