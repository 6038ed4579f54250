"""``headrace up``, ``down`` and ``status``."""

import argparse
import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.teller import Teller
from headrace.config import Settings, load_settings

if TYPE_CHECKING:
    from headrace.local.stack import EmbeddedStack, StackStatus

__all__ = ["configure", "run"]

_LOOK_EVERY_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the three commands."""
    command = parser.prog.split()[-1]
    parser.set_defaults(_stack_command=command)
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="folder of data, logs and state (HEADRACE_HOME or .headrace)"
    )
    if command == "up":
        parser.add_argument("--mlflow", action="store_true", help="also start the MLflow page")
        parser.add_argument("--foreground", action="store_true", help="stay, and stop everything on Ctrl-C or SIGTERM")
    if command == "status":
        parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the chosen command."""
    from headrace.local.stack import EmbeddedStack

    stack = EmbeddedStack(args.home or load_settings().home)
    if args._stack_command == "up":
        return _up(stack, mlflow_ui=args.mlflow, foreground=args.foreground)
    if args._stack_command == "down":
        with Teller() as tell:
            stack.down(progress=tell)
        return 0
    return _status(stack, as_json=args.json)


def _up(stack: "EmbeddedStack", *, mlflow_ui: bool, foreground: bool) -> int:
    # From the first moment on, SIGTERM ends `up` as Ctrl-C does: nothing half started stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Teller() as tell:
        stack.up(mlflow_ui=mlflow_ui, progress=tell)
        for sentence in stack.overridden():
            tell("warning", sentence)
    if foreground:
        _stay(stack)
    return 0


def _stay(stack: "EmbeddedStack") -> None:
    with Teller() as tell:
        try:
            tell("stack", "running; Ctrl-C stops it")
            while stack.is_supervised():
                time.sleep(_LOOK_EVERY_S)
            tell("stack", "was stopped by somebody else")
        except KeyboardInterrupt:
            stack.down(progress=tell)


def _status(stack: "EmbeddedStack", *, as_json: bool) -> int:
    status = stack.status()
    workers = _stream_workers(load_settings(status.home))
    if as_json:
        content = {**asdict(status), "home": str(status.home), "is_up": status.is_up}
        print(json.dumps({**content, "stream_workers": workers}, indent=2))
    else:
        _print_status(status)
        _print_workers(workers)
    return 0 if status.is_up else 1


def _print_status(status: "StackStatus") -> None:
    print(f"home  {status.home}")
    if not status.services:
        print("The stack is down. Start it with `headrace up`.")
        return
    if status.supervisor_pid is None:
        print("The supervisor is gone. Run `headrace up` to start again, or `headrace down` to clean up.")
    for each in status.services:
        facts = [f"pid {each.pid}", f"{each.memory_bytes / 1e6:.0f} MB"] if each.pid else []
        if each.since_s:
            facts.append(f"for {_duration(time.time() - each.since_s)}")
        if each.restarts:
            facts.append(f"{each.restarts} restart{'s' if each.restarts > 1 else ''}")
        if each.last_exit and (each.restarts or not each.pid):
            facts.append(f"it {each.last_exit}")
        state = each.phase if each.answers or not each.pid else "no answer"
        print(f"{each.name:<9} {state:<11} {each.address or '-':<24} {', '.join(facts)}")


def _stream_workers(settings: Settings) -> list[dict[str, Any]]:
    """Those that run, with the views of which others are registered by now than they know."""
    from feature_store.definitions.registered_views import differing_views, read_registered
    from streams.worker_lock import running_workers

    found = []
    for worker in running_workers(settings):
        wanted = read_registered(settings, worker.project)
        restart = [] if wanted is None else differing_views(worker.views, wanted)
        known = {"project": worker.project, "number": worker.number, "pid": worker.pid, "metrics": worker.metrics}
        found.append({**known, "restart": restart})
    return found


def _print_workers(workers: list[dict[str, Any]]) -> None:
    from streams.worker_lock import RESTART

    for worker in workers:
        metrics = worker["metrics"] or "no metrics"
        print(f"{'stream':<9} {'running':<11} {metrics:<24} {worker['project']}, pid {worker['pid']}")
        if worker["restart"]:
            print(f"{'':<9} others are registered of {', '.join(worker['restart'])}: {RESTART}")


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
