"""What `headrace doctor` looks at, as a list of findings."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from headrace.config import Settings
from headrace.errors import HeadraceError
from headrace.local import requirements
from headrace.local.kafka_jars import check_jars
from headrace.local.layout import Layout
from headrace.local.probes import PROBES
from headrace.local.service import Phase
from headrace.local.status import StackStatus, read_status
from headrace.local.valkey import find_allocator

__all__ = ["Finding", "Verdict", "examine"]


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Nothing is wrong, but something is not there yet."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one thing and, where something can be done, the next step."""

    verdict: Verdict
    sentence: str
    next_step: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Check this machine, this home and the servers in effect, from the ground up."""
    layout = Layout(settings.home)
    status = read_status(layout)
    checks: list[Callable[[], str]] = [
        requirements.check_python,
        partial(requirements.check_home, settings.home),
        partial(requirements.check_disk, settings.home),
        requirements.check_java,
        requirements.check_programs,
        partial(check_jars, layout),
    ]
    if not status.services:  # while it runs, its ports are taken and its memory is used, by itself
        checks += [requirements.check_memory, partial(requirements.check_ports, layout)]
    for check in checks:
        yield _finding_of(check)
    yield from _examine_allocator()
    yield from _examine_processes(status)
    yield from _examine_servers(settings, status)


def _finding_of(check: Callable[[], str]) -> Finding:
    try:
        return Finding(Verdict.OK, check())
    except HeadraceError as error:
        return Finding(Verdict.WRONG, str(error.args[0]), error.hint)


def _examine_allocator() -> Iterator[Finding]:
    if find_allocator() is not None:
        yield Finding(Verdict.OK, "jemalloc for the embedded Valkey")
    elif sys.platform.startswith("linux"):
        yield Finding(
            Verdict.NOTE,
            "there is no jemalloc for the embedded Valkey; beside other work a row takes it twice as long",
            "install the package libjemalloc2, or the `ray` extra, which brings one; then `headrace down` and `up`",
        )


def _examine_processes(status: StackStatus) -> Iterator[Finding]:
    if not status.services:
        yield Finding(Verdict.NOTE, "the embedded stack is down", "start it with `headrace up`")
        return
    if status.supervisor_pid is None:
        yield Finding(
            Verdict.WRONG,
            "the supervisor of the embedded stack is gone, nobody restarts its servers",
            "run `headrace up`",
        )
    for service in status.services:
        log = f"{status.home}/logs/{service.name}.log"
        if not service.wanted:
            yield Finding(Verdict.NOTE, f"{service.name} is stopped on purpose", "`headrace up` starts it")
        elif service.phase is Phase.RUNNING:
            yield Finding(Verdict.OK, f"{service.name} runs, pid {service.pid}, {service.restarts} restarts")
        else:
            ending = f": it {service.last_exit}" if service.last_exit else ""
            yield Finding(Verdict.WRONG, f"{service.name} is {service.phase}{ending}", f"read {log}")


def _examine_servers(settings: Settings, status: StackStatus) -> Iterator[Finding]:
    """Ask the servers in effect, embedded or external; the defaults are skipped while nothing is set up."""
    plain = Settings(home=settings.home)
    asked = {
        "kafka": settings.kafka != plain.kafka,
        "valkey": settings.redis != plain.redis,
        "temporal": settings.temporal != plain.temporal,
    }
    stopped = {service.name for service in status.services if not service.wanted}
    for name, is_set in asked.items():
        if (is_set or status.services) and name not in stopped:
            yield _ask(name, settings)
    if settings.mlflow.ui_url:
        yield _ask("mlflow", settings)


def _ask(name: str, settings: Settings) -> Finding:
    try:
        return Finding(Verdict.OK, f"{name} answers at {PROBES[name](settings)}")
    except HeadraceError as error:
        step = error.hint or "run `headrace up` for the embedded server, or correct its address in the settings"
        return Finding(Verdict.WRONG, str(error.args[0]), step)
