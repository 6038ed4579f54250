"""Everything the story needs at hand: servers, roles, the client under load, the controller."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from headrace.config import Settings, load_settings
from headrace.demo.barriers import Barriers, Controller
from headrace.demo.narrator import Narrator
from headrace.demo.roles import RoleProcesses
from headrace.errors import UnavailableError
from headrace.local.stack import EmbeddedStack
from headrace.rollout_store import RolloutStore
from headrace.spec.model import Model
from headrace.spec.project import Project

__all__ = ["Harness", "LoadClient"]

ROLES = ("stream", "score", "monitor", "agents", "worker")


class LoadClient:
    """The foreign client (:mod:`headrace.demo.load_client`), a process of its own."""

    def __init__(self, url: str, model: str, log: Path, *, rate: float) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "headrace.demo.load_client",
                    "--url",
                    url,
                    "--model",
                    model,
                    "--rate",
                    str(rate),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def steady(self, events: Sequence[dict[str, Any]]) -> None:
        """Keep asking for these, a few each second, until told otherwise."""
        self._send({"steady": list(events)})

    def ask(self, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Ask for each of these now."""
        return self._exchange({"ask": list(events)})

    def report(self) -> dict[str, Any]:
        """What it has seen so far."""
        return self._exchange({"report": True})

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _exchange(self, command: dict[str, Any]) -> dict[str, Any]:
        self._send(command)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UnavailableError("the load client has ended", hint="see load-client.log")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()


@dataclass(slots=True)
class Harness:
    """Starts everything on entering, stops everything on leaving."""

    home: Path
    project: Project
    model: Model
    narrator: Narrator
    settings: Settings = field(init=False)
    stack: EmbeddedStack = field(init=False)
    roles: RoleProcesses = field(init=False)
    barriers: Barriers = field(init=False)
    controller: Controller = field(init=False)
    rollouts: RolloutStore = field(init=False)
    client: LoadClient | None = None
    address: str = ""
    """Base address of the serving process."""

    def __enter__(self) -> Self:
        self.stack = EmbeddedStack(self.home)
        try:
            self.stack.up(progress=lambda name, sentence: self.narrator.say(f"[bold]{name}[/] {sentence}"))
            self.settings = load_settings(self.home)
            self.roles = RoleProcesses(home=self.home, project=self.project.path, logs=self.settings.logs_dir)
            self.barriers = Barriers(self.settings, self.project, self.model.name, check=self.roles.check_alive)
            self.controller = Controller(self.settings, self.project, self.model.name)
            self.rollouts = RolloutStore(self.settings.redis.url)
        except BaseException:
            self.stack.down()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.client is not None:
            self.client.close()
        self.controller.close()
        self.roles.stop_all(self.narrator.say)
        self.stack.down()

    def run_command(self, *arguments: str, accept: Sequence[int] = (0,)) -> str:
        """Run one ``headrace`` command to its end; returns what it printed.

        Raises:
            UnavailableError: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "HEADRACE_HOME": str(self.home)},
            check=False,
        )
        if done.returncode not in accept:
            raise UnavailableError(f"`headrace {' '.join(arguments)}` failed:\n{done.stderr.strip()[-2000:]}")
        return done.stdout

    def start_roles(self, names: Sequence[str] = ROLES) -> None:
        """Start the long-running parts."""
        for name in names:
            self.roles.start_role(name)

    def start_serving(self, *, rate: float) -> None:
        """Start the HTTP server and, once it is ready, the client under steady load."""
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.roles.start("serve", "serve", "--project", str(self.project.path), "--port", str(port))
        self.barriers.wait("server", self._is_ready)
        self.client = LoadClient(self.address, self.model.name, self.settings.logs_dir / "load-client.log", rate=rate)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.address}/ready", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
