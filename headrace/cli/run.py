"""``headrace run ROLE``: one long-running part of the loop in the foreground."""

import argparse
import importlib
from typing import TYPE_CHECKING, Any

from headrace.cli.roles import READING, ROLES
from headrace.config import Settings, load_settings
from headrace.errors import ConfigError
from headrace.logging import set_up_logging
from headrace.spec.project import load_project

if TYPE_CHECKING:
    from headrace.contracts.messages import MessageReader, OpenReader
    from headrace.spec.streams import EventStream, LabelStream


def configure(parser: argparse.ArgumentParser) -> None:
    roles = "\n".join(f"  {name:<8} {what}" for name, (_, what) in ROLES.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"roles:\n{roles}\n\nStop with Ctrl-C or SIGTERM; state is saved first."
    parser.add_argument("role", metavar="ROLE", help=", ".join(ROLES))
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    if args.role not in ROLES:
        raise ConfigError(f"role {args.role!r} is unknown", hint=f"use one of {', '.join(ROLES)}")
    set_up_logging(args.log_level)
    module: Any = importlib.import_module(ROLES[args.role][0])
    settings, project = load_settings(), load_project(args.project)
    return int(module.run(settings, project, *([_reader(settings)] if args.role in READING else [])))


def _reader(settings: Settings) -> "OpenReader":
    def open_reader(topic: "EventStream | LabelStream") -> "MessageReader":
        # 60 MB that a monitor whose labels are JSON does not need.
        from streams.formats.message_reader import open_readers

        return open_readers(settings)(topic)

    return open_reader
