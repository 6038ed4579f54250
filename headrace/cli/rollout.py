"""``headrace rollout``: who answers, why, and steering it: status, history, pause, promote, rollback, override."""

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from headrace.clock import SystemClock, format_us
from headrace.config import Settings, load_settings
from headrace.errors import HeadraceError, RejectedError, UnavailableError
from headrace.spec.project import Project, load_project

if TYPE_CHECKING:
    from headrace.contracts.control import ControllerState
    from headrace.contracts.rollout import RolloutRecord
    from headrace.rollout_store import RolloutStore

_ACTIONS = {
    "status": "show the record in force and where the controller stands",
    "history": "show every change of the record, and why",
    "pause": "stop promotion; harm and the deadline still roll back",
    "resume": "go on after a pause",
    "promote": "go to the next stage now, without waiting for evidence",
    "rollback": "put the previous version back in force; works without Temporal",
    "override": "roll out a registered version without gates, still watched",
    "approve": "let a candidate that passed its gates roll out",
    "decline": "turn such a candidate away",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of all actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, does in _ACTIONS.items():
        action = actions.add_parser(name, help=does, description=does[:1].upper() + does[1:] + ".")
        action.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
        action.add_argument("--model", help="which model, when the project has several")
        if name in ("status", "history"):
            action.add_argument("--json", action="store_true", help="print one JSON object")
            continue
        action.add_argument("--reason", default="", help="kept in the audit log")
        action.add_argument("--by", default=getpass.getuser(), help="who asks (default: %(default)s)")
        if name == "override":
            action.add_argument("--version", required=True, help="registered version, such as v7")


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    from headrace.rollout_store import RolloutStore

    settings, project = load_settings(), load_project(args.project)
    model = project.only_model(args.model).name
    store = RolloutStore(settings.redis.url)
    if args.action == "status":
        return _status(settings, store, model, as_json=args.json)
    if args.action == "history":
        return _history(store, model, as_json=args.json)
    record = store.read(model)
    if record is None:
        raise RejectedError(f"model {model!r} has no champion yet", hint=f"headrace retrain --model {model}")
    try:
        state = _state(settings, model)
    except UnavailableError as error:
        if args.action != "rollback":
            raise
        return _roll_back_directly(settings, project, store, record, args, why=str(error.args[0]))
    if state is None and args.action == "rollback":
        return _roll_back_directly(settings, project, store, record, args, why="the model has no controller")
    _check(args, record, state)
    _command(settings, project, model, args)
    print(f"asked the controller of {model}: {args.action}")
    print(f"see `headrace rollout status --model {model}`")
    return 0


def _check(args: argparse.Namespace, record: "RolloutRecord", state: "ControllerState | None") -> None:
    """Refuse what the controller would refuse, while somebody is there to read it.

    Raises:
        RejectedError: not possible now.
    """
    phase = state.phase if state is not None else "idle"
    needs = {"pause": "rolling_out", "resume": "rolling_out", "promote": "rolling_out"}
    needs |= {"approve": "awaiting_approval", "decline": "awaiting_approval"}
    if args.action in needs and phase != needs[args.action]:
        raise RejectedError(f"{args.action} is not possible while the controller of {record.model!r} is {phase}")
    if args.action == "override" and phase in ("retraining", "rolling_out", "awaiting_approval"):
        raise RejectedError(
            f"override is not possible while the controller of {record.model!r} is {phase}",
            hint="roll back or wait; one thing at a time is in flight",
        )
    if args.action == "override" and args.version == record.champion:
        raise RejectedError(f"{args.version} is the champion of {record.model!r} already")
    if args.action == "rollback" and record.previous is None:
        raise RejectedError(
            f"model {record.model!r} has no earlier version to go back to",
            hint="roll out a registered version with `headrace rollout override --version`",
        )


def _state(settings: Settings, model: str) -> "ControllerState | None":
    from headrace.temporal_client import ask, controller_state

    return ask(settings, lambda client: controller_state(client, model))


def _command(settings: Settings, project: Project, model: str, args: argparse.Namespace) -> None:
    from headrace.contracts.control import ControllerStart, OperatorCommand
    from headrace.temporal_client import ask, send_command

    start = ControllerStart(project=str(project.path), model=model)
    command = OperatorCommand(action=args.action, by=args.by, reason=args.reason, version=getattr(args, "version", ""))
    ask(settings, lambda client: send_command(client, start, command))


def _roll_back_directly(
    settings: Settings,
    project: Project,
    store: "RolloutStore",
    record: "RolloutRecord",
    args: argparse.Namespace,
    *,
    why: str,
) -> int:
    """Write the previous record ourselves; workflows find it and follow when they are back."""
    from headrace.cli.event_time import event_time_us
    from headrace.contracts.rollout import RolloutChange
    from headrace.rollout_records import rollback
    from headrace.rollout_store import announce

    reason = f"{args.by}: {args.reason or 'rollback by hand'}"
    at_us = max(record.at_us, event_time_us(settings, project))
    change = RolloutChange(
        record=rollback(record, reason=reason, by=args.by, at_us=at_us),
        kind="rollback",
        evidence={"by": args.by, "without_temporal": why},
        wall_us=SystemClock().now_us(),
    )
    if not store.write(change):
        raise RejectedError("the record changed in this very moment", hint="look at `headrace rollout status`")
    print(f"{why}: wrote the previous record directly")
    print(f"{record.model}: {change.record.champion} answers everything, epoch {change.record.epoch}")
    try:
        announce(settings, change)
    except HeadraceError as error:
        print(f"headrace: warning: not announced: {error.args[0]}", file=sys.stderr)
    return 0


def _status(settings: Settings, store: "RolloutStore", model: str, *, as_json: bool) -> int:
    record = store.read(model)
    silent = ""
    state = None
    try:
        state = _state(settings, model)
    except UnavailableError as error:
        silent = str(error.args[0])
    if as_json:
        known = {"record": record and asdict(record), "controller": state and asdict(state), "silent": silent}
        print(json.dumps(known))
        return 0
    if record is None:
        print(f"{model}: no champion yet")
    else:
        print(f"model       {model}")
        print(f"champion    {record.champion}")
        trial = f" {record.challenger}, {record.share:.0%} of units" if record.challenger else ""
        print(f"stage       {record.stage}{trial}")
        print(f"since       {format_us(record.at_us)} (event time), epoch {record.epoch}, by {record.written_by}")
        print(f"because     {record.reason}")
        if record.previous is not None:
            print(f"way back    {record.previous.champion}")
    if state is not None:
        print(f"controller  {state.phase}, event time {format_us(state.at_us)}")
        print(
            f"so far      {state.retrains} retrainings, {state.rejected} rejected, {state.promotions} promoted, "
            f"{state.rollbacks} rolled back"
        )
        for cause in state.pending:
            print(f"pending     {cause}")
        for sentence in state.history[-5:]:
            print(f"            {sentence}")
        for title, address in state.links.items():
            print(f"{title:<11} {address}")
    else:
        print(f"controller  {silent or 'never asked for anything'}")
    return 0


def _history(store: "RolloutStore", model: str, *, as_json: bool) -> int:
    changes = store.history(model)
    if as_json:
        print(json.dumps({"changes": [asdict(change) for change in changes]}))
        return 0
    for change in changes:
        record = change.record
        trial = f" with {record.challenger} at {record.share:.0%}" if record.challenger else ""
        print(
            f"{record.epoch:>4}  {format_us(record.at_us)}  {change.kind:<9} {record.champion}{trial}"
            f"  {record.written_by}: {record.reason}"
        )
    return 0
