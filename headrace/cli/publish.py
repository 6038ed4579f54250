"""``headrace publish``: a file of events and labels to Kafka, in time order."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from headrace.cli.instants import instant
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
    parser.add_argument(
        "--speed", default="max", help="seconds of event time per second, labels' delays included; or max (default)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def run(args: argparse.Namespace) -> int:
    from streams.formats.event_file import read_event_file
    from streams.publisher import Publisher

    asked_us = instant(args.until, "--until") if args.until else None
    project = load_project(args.project)
    stream = project.stream(args.stream) if args.stream else project.only_stream()
    table, labels = read_event_file(args.events, args.labels, stream, project.labels_of(stream))
    publisher = Publisher(load_settings(), project, stream, table, labels)
    first_us, end_us = publisher.span_us[0], publisher.end_us
    until_us = end_us if asked_us is None else min(asked_us, end_us)
    started, published = time.monotonic(), 0
    for at_us, due_s in stretches(first_us, until_us, _speed(args.speed)):
        # Nothing of a stretch is sent before all of it has happened.
        time.sleep(max(0.0, started + due_s - time.monotonic()))
        published += publisher.publish_until(at_us, flush=at_us == until_us)
        spent = time.monotonic() - started
        if sys.stderr.isatty() or at_us == until_us:
            rate = f"{published / max(spent, 1e-9):,.0f}/s"
            print(f"\r{published:,} events, {publisher.labels_sent:,} labels, {rate}", end="", file=sys.stderr)
    print(file=sys.stderr)
    if args.json:
        seconds = round(time.monotonic() - started, 3)
        print(json.dumps({"events": published, "labels": publisher.labels_sent, "seconds": seconds}))
    return 0


def stretches(first_us: int, until_us: int, speed: float | None) -> Iterator[tuple[int, float]]:
    """Where each stretch of event time ends, and how many seconds after the start that is.

    The last ends at ``until_us``.

    Args:
        first_us: where the first begins.
        until_us: nothing when it is not later.
        speed: seconds of event time per second; None: as fast as it goes.

    >>> list(stretches(0, 2_500_000, 1.0))
    [(1000000, 1.0), (2000000, 2.0), (2500000, 2.5)]
    """
    step_us = DAY_US if speed is None else max(1, int(speed * 1e6))
    at_us = first_us
    while at_us < until_us:
        at_us = min(at_us + step_us, until_us)
        yield at_us, 0.0 if speed is None else (at_us - first_us) / (speed * 1e6)


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
