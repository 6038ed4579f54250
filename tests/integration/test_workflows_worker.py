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
    """Killed while training; another one trains again, and each thing happened once."""
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
        start_worker(script)
        holding.unlink()
        eventually(lambda: world.state().champion == "v1", timeout_s=90)

        assert world.kinds() == ["champion"]
        assert world.state().retrains == 1
    finally:
        world.close()


def test_a_stopped_worker_hands_its_training_over(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    """Told to stop, it cuts the training short; the next worker starts the second attempt under the same name."""
    holding = tmp_path / "training"
    holding.touch()
    world = World(stack, fresh_name("model"), Script(gates=[True], hold_training=str(holding)))
    try:
        world.day()
        world.command("retrain", reason="first model")
        eventually(lambda: [name for name, _ in world.activities.calls if name == "train"])
        world.stop_worker()
        holding.unlink()
        world.start_worker()
        eventually(lambda: world.state().champion == "v1", timeout_s=60)

        runs = [request.run for name, request in world.activities.calls if name == "train"]
        assert len(runs) == 2
        assert len(set(runs)) == 1
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
