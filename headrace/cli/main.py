"""The ``headrace`` command: one table of subcommands, each imported only when it is used."""

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.cli.roles import ROLES
from headrace.errors import HeadraceError

__all__ = ["main"]


@dataclass(frozen=True, slots=True)
class _Command:
    name: str
    module: str
    """Module with ``configure(parser)`` and ``run(args) -> int``."""
    help: str


COMMANDS = (
    _Command("up", "headrace.cli.stack", "start the embedded Kafka, Valkey, Temporal (and MLflow)"),
    _Command("down", "headrace.cli.stack", "stop the embedded stack; data stays"),
    _Command("status", "headrace.cli.stack", "show what runs where"),
    _Command("doctor", "headrace.cli.doctor", "name what is wrong here and the next step"),
    _Command("demo", "headrace.cli.demo", "run the whole loop on the fraud example and watch it"),
    _Command("apply", "headrace.cli.apply", "register the definitions of a project in Feast"),
    _Command("generate", "headrace.cli.generate", "write a seeded stream of card transactions to Parquet"),
    _Command("publish", "headrace.cli.publish", "publish a file of events and labels to Kafka"),
    _Command("run", "headrace.cli.run", f"run a role: {', '.join(ROLES)}"),
    _Command("serve", "headrace.cli.serve", "answer feature and prediction requests over HTTP"),
    _Command("features", "headrace.cli.features", "list, show, compute, look up, plan and retire features"),
    _Command("backfill", "headrace.cli.backfill", "compute a new or changed view from the offline log"),
    _Command("dataset", "headrace.cli.dataset", "build, show and verify training sets"),
    _Command("offline", "headrace.cli.offline", "look after the offline logs: files, compact, retain"),
    _Command("erase", "headrace.cli.erase", "remove a subject from logs, stores, state and training sets"),
    _Command("verify", "headrace.cli.verify", "compare logged online reads with an offline recomputation"),
    _Command("train", "headrace.cli.train", "train a model on a training set"),
    _Command("retrain", "headrace.cli.retrain", "ask the controller of a model to retrain"),
    _Command("models", "headrace.cli.models", "list models, versions and aliases"),
    _Command("rollout", "headrace.cli.rollout", "show or steer a rollout: status, pause, promote, rollback"),
    _Command("bench", "headrace.cli.bench", "measure a part beside its peer in the same run"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 used wrongly)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    warnings.showwarning = _show_warning
    parser = argparse.ArgumentParser(
        prog="headrace",
        description="Streaming features, drift and continuous retraining as one loop.",
        epilog="Every command explains itself: headrace COMMAND --help",
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for command in COMMANDS:
        sub = subparsers.add_parser(
            command.name, help=command.help, description=command.help[:1].upper() + command.help[1:] + "."
        )
        if command.name == chosen:
            module: Any = importlib.import_module(command.module)
            module.configure(sub)
            sub.set_defaults(_run=module.run)
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    try:
        return int(args._run(args) or 0)
    except HeadraceError as error:
        print(f"headrace: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, UserWarning):
        print(f"headrace: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
