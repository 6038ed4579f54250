"""``headrace retrain``: ask a model's controller for a retraining."""

import argparse
import getpass

from headrace.config import load_settings
from headrace.spec.project import load_project


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--model", help="which model, when the project has several")
    parser.add_argument("--reason", default="asked by hand", help="kept with the run (default: %(default)s)")
    parser.add_argument("--by", default=getpass.getuser(), help="who asks (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Send the request; the controller starts it when nothing is in flight and no data incident is open."""
    from headrace.cli.event_time import event_time_us
    from headrace.contracts.control import ControllerStart, OperatorCommand, controller_id
    from headrace.temporal_client import ask, send_command, workflow_url

    settings, project = load_settings(), load_project(args.project)
    model = project.only_model(args.model).name
    command = OperatorCommand(action="retrain", by=args.by, reason=args.reason, at_us=event_time_us(settings, project))

    start = ControllerStart(project=str(project.path), model=model)
    ask(settings, lambda client: send_command(client, start, command))
    print(f"asked the controller of {model}: {args.reason}")
    print(f"watch   {workflow_url(settings, controller_id(model))}")
    print(f"or      headrace rollout status --model {model}")
    return 0
