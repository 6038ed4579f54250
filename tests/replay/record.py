"""Record the histories of tests/replay anew:  python -m tests.replay.record [HOME]

Run it after a change of a workflow definition that is meant to break old histories (all workflows that still run
have ended, or the change is patched); commit what it writes. Starts an embedded stack under HOME, or under a
temporary folder that is removed afterwards.
"""

import json
import re
import socket
import sys
import tempfile
from pathlib import Path

from temporalio.client import WorkflowHistory

from headrace.config import Settings
from headrace.contracts.control import controller_id, retrain_id, rollout_workflow_id
from headrace.local.stack import EmbeddedStack
from tests.integration.workflow_world import FLOOD, GOOD, Script, World

HISTORIES = Path(__file__).parent / "histories"


def record(settings: Settings) -> None:
    """Live through two stories and keep every history they leave."""
    _promoted(settings)
    _harmed(settings)


def _promoted(settings: Settings) -> None:
    """A first model, a refused candidate, a promoted one."""
    world = World(settings, "promoted", Script(gates=[True, False, True]))
    world.first_model()
    world.drift()
    world.days(2)
    world.drift()
    rollout = world.record().rollout_id
    for _ in range(6):
        world.day(GOOD)
    _keep(world, "controller-promoted", controller_id(world.model))
    _keep(world, "retrain-first", retrain_id(world.model, 1))
    _keep(world, "retrain-refused", retrain_id(world.model, 2))
    _keep(world, "retrain-accepted", retrain_id(world.model, 3))
    _keep(world, "rollout-promoted", rollout_workflow_id(world.model, rollout))
    world.close()


def _harmed(settings: Settings) -> None:
    """An override that does harm, and commands along the way."""
    world = World(settings, "harmed", Script(gates=[True]))
    world.first_model()
    world.command("override", version="v9", reason="I know better")
    world.until("rolling_out")
    world.day()
    rollout = world.record().rollout_id
    world.command("pause")
    world.day(GOOD)
    world.command("resume")
    world.command("promote")
    world.day(GOOD)
    world.day(FLOOD)
    _keep(world, "controller-harmed", controller_id(world.model))
    _keep(world, "rollout-harmed", rollout_workflow_id(world.model, rollout))
    world.close()


def _keep(world: World, name: str, workflow_id: str) -> None:
    history: WorkflowHistory = world.wait(world.client.get_workflow_handle(workflow_id).fetch_history())
    HISTORIES.mkdir(exist_ok=True)
    path = HISTORIES / f"{name}.json"
    text = json.dumps(history.to_json_dict(), separators=(",", ":"))
    # Workers are named after their process and machine, which are nobody's business.
    text = re.sub(rf"\d+@{re.escape(socket.gethostname())}", "worker", text)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{path.name}: {len(history.events)} events, {path.stat().st_size} bytes")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as fresh:
        home = Path(sys.argv[1] if len(sys.argv) > 1 else fresh)
        stack = EmbeddedStack(home)
        try:
            record(stack.up())
        finally:
            stack.down()
