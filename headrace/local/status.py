"""What runs where, asked of the files, the processes and the servers themselves."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.local import process
from headrace.local.addresses import settings_of
from headrace.local.layout import Layout
from headrace.local.ports import read_ports
from headrace.local.probes import PROBES
from headrace.local.service import Phase, ServiceState, read_services, read_state

__all__ = ["ServiceStatus", "StackStatus", "read_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One server."""

    name: str
    phase: Phase
    wanted: bool
    answers: bool
    address: str = ""
    """Where it answers, or why it does not."""
    pid: int | None = None
    since_s: float = 0.0
    """Wall-clock seconds since the epoch at the start of the phase."""
    restarts: int = 0
    last_exit: str = ""
    memory_bytes: int = 0
    """Resident memory of the server and its descendants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """The whole stack."""

    home: Path
    supervisor_pid: int | None
    """None: nothing supervises; the stack is down or its supervisor was killed."""
    services: tuple[ServiceStatus, ...]

    @property
    def is_up(self) -> bool:
        """Supervised, and every wanted server answers."""
        wanted = [service for service in self.services if service.wanted]
        return self.supervisor_pid is not None and bool(wanted) and all(each.answers for each in wanted)


def read_status(layout: Layout) -> StackStatus:
    """Ask everything once."""
    services = read_services(layout)
    state = read_state(layout)
    if not services or state is None:
        return StackStatus(home=layout.home, supervisor_pid=None, services=())
    supervised = process.is_alive(state.supervisor)
    settings = settings_of(layout.home, read_ports(layout))
    with ThreadPoolExecutor(len(services)) as threads:
        found = threads.map(
            lambda service: _ask(service.name, service.wanted, state.services.get(service.name), settings),
            services,
        )
        return StackStatus(
            home=layout.home,
            supervisor_pid=state.supervisor.pid if supervised else None,
            services=tuple(found),
        )


def _ask(name: str, wanted: bool, fact: ServiceState | None, settings: Settings) -> ServiceStatus:
    if fact is None or fact.process is None or not process.is_alive(fact.process):
        return _absent(name, wanted, fact)
    try:
        answers, address = True, PROBES[name](settings)
    except UnavailableError as error:
        answers, address = False, str(error.args[0])
    return ServiceStatus(
        name=name,
        phase=fact.phase,
        wanted=wanted,
        answers=answers,
        address=address,
        pid=fact.process.pid,
        since_s=fact.since_s,
        restarts=fact.restarts,
        last_exit=fact.last_exit,
        memory_bytes=sum(_resident(pid) for pid in process.members(fact.process)),
    )


def _absent(name: str, wanted: bool, fact: ServiceState | None) -> ServiceStatus:
    if fact is None:
        return ServiceStatus(name=name, phase=Phase.STOPPED, wanted=wanted, answers=False)
    # Reported as running by a supervisor that has not seen the end of it, usually because it died too.
    unseen = fact.phase is Phase.RUNNING
    return ServiceStatus(
        name=name,
        phase=Phase.STOPPED if unseen else fact.phase,
        wanted=wanted,
        answers=False,
        since_s=0.0 if unseen else fact.since_s,
        restarts=fact.restarts,
        last_exit="ended unobserved" if unseen else fact.last_exit,
    )


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0  # it ended between the two questions
