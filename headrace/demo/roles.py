"""The parts of the loop as child processes, each the command a person would type."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.errors import UnavailableError

__all__ = ["RoleProcesses"]

STOP_TIMEOUT_S = 20.0


@dataclass(slots=True)
class RoleProcesses:
    """Starts, watches and stops roles; their output goes to ``<logs>/<name>.log``."""

    home: Path
    project: Path
    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> None:
        """Start ``headrace <arguments>`` under a name of its own."""
        self.logs.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "HEADRACE_HOME": str(self.home), "OMP_NUM_THREADS": "1"}
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "headrace", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def start_role(self, role: str) -> None:
        """Start ``headrace run <role>``."""
        self.start(role, "run", role, "--project", str(self.project))

    def check_alive(self) -> None:
        """Raise when a role has ended by itself.

        Raises:
            UnavailableError: names the role and the end of its log.
        """
        for name, process in self.running.items():
            code = process.poll()
            if code is not None:
                raise UnavailableError(
                    f"role {name!r} ended with exit code {code}:\n{self.tail(name)}",
                    hint=f"see {self.logs / f'{name}.log'}",
                )

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a role's log."""
        path = self.logs / f"{name}.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop_all(self, report: Callable[[str], None] = lambda _: None) -> None:
        """End every role: SIGTERM, then SIGKILL for those that do not listen."""
        for process in self.running.values():
            _signal_group(process, signal.SIGTERM)
        for name, process in self.running.items():
            try:
                process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                report(f"role {name} did not stop within {STOP_TIMEOUT_S:g} s and was killed")
                _signal_group(process, signal.SIGKILL)
                process.wait()
        self.running.clear()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)
