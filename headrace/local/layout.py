"""Where the embedded stack keeps its files inside a home.

<home>/stack.json               addresses of the running stack; read by headrace.config
<home>/run/ports.json           ports remembered from the first start
<home>/run/services.json        what should run (written by the stack, read by the supervisor)
<home>/run/state.json           what does run (written by the supervisor, read by the stack)
<home>/run/kafka/ …             generated server configuration
<home>/data/kafka/ …            the servers' data, kept across restarts
<home>/logs/kafka.log …         their output
"""

from dataclasses import dataclass
from pathlib import Path

from headrace.config import STACK_FILE

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one stack, all derived from its home."""

    home: Path

    @property
    def stack_file(self) -> Path:
        return self.home / STACK_FILE

    @property
    def run_dir(self) -> Path:
        return self.home / "run"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def ports_file(self) -> Path:
        return self.run_dir / "ports.json"

    @property
    def services_file(self) -> Path:
        return self.run_dir / "services.json"

    @property
    def state_file(self) -> Path:
        return self.run_dir / "state.json"

    @property
    def command_lock(self) -> Path:
        """Held while ``up`` or ``down`` works, so that two of them take turns."""
        return self.run_dir / "command.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.run_dir / "supervisor.lock"

    def config_dir(self, service: str) -> Path:
        """Folder of the generated configuration of a service."""
        return self.run_dir / service

    def data_dir(self, service: str) -> Path:
        """Folder of the data of a service."""
        return self.home / "data" / service

    def log_file(self, service: str) -> Path:
        return self.logs_dir / f"{service}.log"
