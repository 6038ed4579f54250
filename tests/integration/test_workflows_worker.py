"""A worker that dies loses nothing: the next one goes on where it was cut off."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from headrace.config import Settings
from headrace.contracts.rollout import Stage
from tests.eventually import eventually
from tests.integration.workflow_world import FLOOD, GOOD, Script, World


class WorkerProcess:
    """A scripted worker in a process of its own."""

    def __init__(self, settings: Settings, script: Script) -> None:
        command = [sys.executable, "-m", "tests.integration.workflow_world", settings.temporal.address]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(
            [*command, settings.redis.url, json.dumps(asdict(script))],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )

    def kill(self) -> None:
        """Gone without a word."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


@pytest.fixture
def start_worker(stack: Settings) -> Iterator[Callable[[Script], WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(script: Script) -> WorkerProcess:
        started.append(WorkerProcess(stack, script))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_a_killed_worker_is_replaced_and_everything_goes_on(
    stack: Settings,
    fresh_name: Callable[[str], str],
    start_worker: Callable[[Script], WorkerProcess],
    tmp_path: Path,
) -> None:
    """Killed while training and again during the rollout; each thing happened once."""
    holding = tmp_path / "training"
    holding.touch()
    script = Script(gates=[True], hold_training=str(holding))
    first = start_worker(script)
    world = World(stack, fresh_name("model"), script, own_worker=False)
    try:
        world.day()
        world.command("retrain", reason="first model")
        world.until("retraining")
        first.kill()
        second = start_worker(script)
        holding.unlink()
        eventually(lambda: world.store.read(world.model), timeout_s=60, what="a first record")
        eventually(lambda: world.state().champion == "v1", timeout_s=60)
        world.command("override", version="v9")
        eventually(lambda: world.store.history(world.model)[-1].kind == "override", timeout_s=60)
        second.kill()
        start_worker(script)
        world.day(GOOD)
        world.day(FLOOD)

        assert world.kinds() == ["champion", "override", "canary", "rollback"]
        assert [change.record.epoch for change in world.store.history(world.model)] == [1, 2, 3, 4]
        assert (world.record().stage, world.record().champion) == (Stage.STEADY, "v1")
        assert world.state().retrains == 1
    finally:
        world.close()


def test_a_lost_controller_is_made_anew_from_the_record(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    """Terminated in a canary: the next observation starts a controller that finds the rollout and goes on with it."""
    world = World(stack, fresh_name("model"), Script(gates=[True]))
    try:
        world.first_model()
        world.drift()
        world.day(GOOD)
        before = world.record()
        assert before.stage is Stage.CANARY
        world.lose_controller()
        state = world.day(FLOOD)

        assert (state.champion, state.rollbacks, state.stage) == ("v1", 1, "steady")
        assert world.record().epoch == before.epoch + 1
    finally:
        world.close()
