"""``headrace backfill VIEW``: compute a new or changed view from the offline log, and hand it to the running stream."""

import argparse
import dataclasses
import json
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from headrace.cli.feature_changes import show_plan
from headrace.cli.instants import instant
from headrace.cli.pace import duration_text
from headrace.cli.teller import Teller
from headrace.config import load_settings
from headrace.spec.project import load_project

if TYPE_CHECKING:
    from streams.backfill.backfill_run import BackfillOutcome, BackfillStep

__all__ = ["configure", "run"]

_STOPPED = 130


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "The stream goes on meanwhile. Stop with Ctrl-C or SIGTERM; the same command goes on from there,\n"
        "also after kill -9. What a change means and costs: headrace features plan"
    )
    parser.add_argument("view", metavar="VIEW")
    parser.add_argument("--since", metavar="T", help="first instant to compute rows for, ISO 8601 with zone")
    parser.add_argument(
        "--replace", action="store_true", help="take the place of another definition of the same name; its rows go"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what it costs, as headrace features plan does")
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object; progress as one a line on stderr")


def run(args: argparse.Namespace) -> int:
    """Compute until the view is live, or until told to stop; refused while a worker runs that does not know it."""
    project = load_project(args.project)
    view = project.view(args.view)
    if args.dry_run:
        return show_plan(project, args, only=view.name)
    from streams.backfill.backfill_run import run_backfill

    stop = threading.Event()

    def leave(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with Teller() as tell:

        def told(step: "BackfillStep") -> None:
            if args.json:
                print(json.dumps(dataclasses.asdict(step)), file=sys.stderr, flush=True)
            else:
                tell("backfill", _sentence(step))

        outcome = run_backfill(
            load_settings(),
            project,
            view,
            since_us=instant(args.since, "--since") if args.since else None,
            replace=args.replace,
            stop=stop,
            tell=told,
        )
    _print(view.name, outcome, as_json=args.json)
    return 0 if outcome.is_live else _STOPPED


def _sentence(step: "BackfillStep") -> str:
    if step.waiting:
        return f"{step.rows:,} rows read; waiting for the stream worker: {step.waiting}"
    share = step.rows / max(step.total, 1)
    done = f"{step.rows:,} of {step.total:,} rows ({share:.0%})"
    if step.rows_per_s is None or step.left_s is None:
        return done
    return f"{done}, {step.rows_per_s:,.0f} a second, {duration_text(step.left_s)} left"


def _print(view: str, outcome: "BackfillOutcome", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"view": view, **dataclasses.asdict(outcome)}))
        return
    took = f"{outcome.rows:,} rows in {duration_text(outcome.seconds)}"
    if not outcome.is_live:
        print(f"{view} is not complete: {took} are saved; the same command goes on from there")
        return
    late = f", {outcome.too_late:,} events were older than it remembers" if outcome.too_late else ""
    state = "live" if outcome.workers else "complete"
    print(f"{view} is {state}: {took}, {outcome.feature_rows:,} feature rows{late}")
    if not outcome.workers:
        print("No stream worker runs: the next `headrace run stream` with this project opens it")
