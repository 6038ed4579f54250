"""``headrace up``, ``down`` and ``status``."""

import argparse
import json
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.config import load_settings

if TYPE_CHECKING:
    from headrace.local.stack import EmbeddedStack, StackStatus

__all__ = ["configure", "run"]


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
        stack.down(progress=_tell)
        return 0
    return _status(stack, as_json=args.json)


def _up(stack: "EmbeddedStack", *, mlflow_ui: bool, foreground: bool) -> int:
    from headrace.local.addresses import overridden
    from headrace.local.layout import Layout
    from headrace.local.ports import read_ports
    from headrace.local.service import read_services

    settings = stack.up(mlflow_ui=mlflow_ui, progress=_tell)
    layout = Layout(stack.home)
    names = {service.name for service in read_services(layout)}
    for sentence in overridden(settings, read_ports(layout), names):
        print(f"headrace: warning: {sentence}", file=sys.stderr)
    if foreground:
        _stay(stack)
    return 0


def _stay(stack: "EmbeddedStack") -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    _tell("stack", "running; Ctrl-C stops it")
    ended.wait()
    stack.down(progress=_tell)


def _status(stack: "EmbeddedStack", *, as_json: bool) -> int:
    status = stack.status()
    if as_json:
        content = {**asdict(status), "home": str(status.home), "is_up": status.is_up}
        print(json.dumps(content, indent=2))
    else:
        _print_status(status)
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
            facts.append(f"{each.restarts} restarts, last: {each.last_exit}")
        state = each.phase if each.answers or each.pid is None else "no answer"
        print(f"{each.name:<9} {state:<11} {each.address or '-':<24} {', '.join(facts)}")


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _tell(name: str, sentence: str) -> None:
    print(f"{name:<9} {sentence}", file=sys.stderr, flush=True)
