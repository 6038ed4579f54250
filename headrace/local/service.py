"""What the supervisor is asked to run and what it reports back, as two small JSON files."""

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from headrace.durable_files import write_file
from headrace.local.layout import Layout
from headrace.local.process import ProcessName

__all__ = [
    "Phase",
    "Service",
    "ServiceState",
    "SupervisorState",
    "phase_of",
    "read_services",
    "read_state",
    "write_services",
    "write_state",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One server of the stack: how to start it and whether it should run."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    """Added to the environment of the supervisor."""
    stop_within_s: float = 10.0
    """Patience after SIGTERM before SIGKILL."""
    wanted: bool = True
    """False: kept stopped until somebody wants it again."""


class Phase(StrEnum):
    """Where a service stands, as the supervisor sees it (a process, not yet an answer)."""

    RUNNING = "running"
    STOPPED = "stopped"
    WAITING = "restarting"
    """Died; starts again after a pause."""
    FAILING = "failing"
    """Died several times soon after its start; still tried again, with long pauses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """The latest fact about one service."""

    phase: Phase
    process: ProcessName | None = None
    since_s: float = 0.0
    """Wall-clock seconds since the epoch at the start of the phase."""
    restarts: int = 0
    """Starts after the first one, since the supervisor began."""
    last_exit: str = ""
    """How it ended last, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorState:
    """The supervisor and everything under it."""

    supervisor: ProcessName
    services: dict[str, ServiceState] = field(default_factory=dict)


def write_services(layout: Layout, services: list[Service]) -> None:
    write_file(layout.services_file, msgspec.json.format(msgspec.json.encode(services)))


def read_services(layout: Layout) -> list[Service]:
    """The wanted services; empty when nothing was ever started."""
    try:
        return msgspec.json.decode(layout.services_file.read_bytes(), type=list[Service])
    except FileNotFoundError:
        return []


def write_state(layout: Layout, state: SupervisorState) -> None:
    write_file(layout.state_file, msgspec.json.format(msgspec.json.encode(state)))


def read_state(layout: Layout) -> SupervisorState | None:
    """The supervisor's last report; it may be dead by now, see its ``supervisor``."""
    try:
        return msgspec.json.decode(layout.state_file.read_bytes(), type=SupervisorState)
    except FileNotFoundError:
        return None


def phase_of(layout: Layout, name: str) -> Phase | None:
    """The phase of one service in the last report; None when it is not in there."""
    state = read_state(layout)
    return state.services[name].phase if state and name in state.services else None
