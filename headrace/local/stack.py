"""The embedded stack as one object: up, down, status, and stopping a single server.

stack = EmbeddedStack(Path(".headrace"))
settings = stack.up()
stack.stop_service("temporal")
stack.down()
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from headrace.config import Settings, load_settings
from headrace.durable_files import write_file
from headrace.errors import RejectedError, UnavailableError
from headrace.local import kafka, mlflow, process, requirements, supervisor, temporal, valkey
from headrace.local.addresses import addresses_of, overridden
from headrace.local.answers import wait_for_answers
from headrace.local.kafka_jars import fetch_jars
from headrace.local.layout import Layout
from headrace.local.ports import choose_ports, read_ports
from headrace.local.process import ProcessName
from headrace.local.service import (
    Phase,
    phase_of,
    read_services,
    read_state,
    write_services,
)
from headrace.local.status import ServiceStatus, StackStatus, read_status

__all__ = ["EmbeddedStack", "Progress", "ServiceStatus", "StackStatus"]

Progress = Callable[[str, str], None]
"""Called with the name of a service (or "stack") and a sentence about it."""

_PAUSE_S = 0.05
_END_WITHIN_S = 60.0
_RUN_WITHIN_S = 10.0


def _silent(_name: str, _sentence: str) -> None:
    """Tell nobody."""


class EmbeddedStack:
    """Real Kafka, Valkey and Temporal (and the MLflow page) on loopback, with data in one folder."""

    def __init__(self, home: Path) -> None:
        """Name the stack; nothing starts yet.

        Args:
            home: folder of its data, logs and state; two stacks need two homes.
        """
        self.home = home.expanduser().absolute()
        self._layout = Layout(self.home)

    def up(self, *, mlflow_ui: bool = False, progress: Progress = _silent) -> Settings:
        """Start what does not run and wait until every server answers; doing it twice is harmless.

        Args:
            mlflow_ui: also start the MLflow page.
            progress: told what happens.

        Returns:
            The settings in effect, which name the servers just started.

        Raises:
            HeadraceError: a requirement is missing or a server does not come up; nothing is left running.
        """
        requirements.check_python()
        requirements.check_home(self.home)
        with self._one_command(progress):
            running = self._supervisor()
            try:
                if running is None:
                    self._start(mlflow_ui, progress)
                else:
                    self._complete(running, mlflow_ui)
                wait_for_answers(self._layout, progress)
            except BaseException:
                if running is None:
                    self._stop(progress)
                raise
            self._publish()
        return load_settings(self.home)

    def down(self, *, progress: Progress = _silent) -> None:
        """Stop everything, also what a killed supervisor left behind; data and ports stay."""
        if not self._layout.run_dir.exists():
            return
        with self._one_command(progress):
            self._stop(progress)

    def status(self) -> StackStatus:
        """What runs where, and whether it answers."""
        return read_status(self._layout)

    def is_supervised(self) -> bool:
        """Whether a supervisor keeps this stack running."""
        return self._supervisor() is not None

    def overridden(self) -> list[str]:
        """Settings that make other commands use another server than this stack's, as sentences."""
        names = {service.name for service in read_services(self._layout)}
        return overridden(load_settings(self.home), read_ports(self._layout), names)

    def stop_service(self, name: str) -> None:
        """Stop one server and keep it stopped until :meth:`start_service` or :meth:`up`.

        Raises:
            RejectedError: the stack does not run, or has no such server.
        """
        with self._one_command(_silent):
            self._want(name, wanted=False)
            self._wait_for(lambda: phase_of(self._layout, name) is Phase.STOPPED, f"{name} to stop", _END_WITHIN_S)

    def start_service(self, name: str) -> None:
        """Start a server stopped by :meth:`stop_service` and wait until it answers.

        Raises:
            RejectedError: the stack does not run, or has no such server.
            UnavailableError: it does not come up.
        """
        with self._one_command(_silent):
            self._want(name, wanted=True)
            wait_for_answers(self._layout, _silent)

    # -- starting -------------------------------------------------------------------------------------

    def _start(self, mlflow_ui: bool, progress: Progress) -> None:
        self._stop(_silent)  # whatever an earlier, killed supervisor left
        requirements.check_disk(self.home)
        requirements.check_programs()
        self._layout.logs_dir.mkdir(exist_ok=True)
        chosen = choose_ports(self._layout)
        for name, (old, new) in chosen.replaced.items():
            progress("stack", f"port {old} of {name} is used by somebody else now; taking {new}")
        jars = fetch_jars(self._layout, lambda sentence: progress(kafka.NAME, sentence))
        services = [
            kafka.build_service(self._layout, chosen.ports, jars),
            valkey.build_service(self._layout, chosen.ports),
            temporal.build_service(self._layout, chosen.ports),
        ]
        if mlflow_ui:
            services.append(mlflow.build_service(self._layout, chosen.ports, load_settings(self.home)))
        write_services(self._layout, services)
        supervisor.launch(self._layout)
        self._wait_for(lambda: self._supervisor() is not None, "the supervisor to start", _RUN_WITHIN_S)

    def _complete(self, running: ProcessName, mlflow_ui: bool) -> None:
        """Want every service of a running stack, and the MLflow page if asked for."""
        services = [replace(service, wanted=True) for service in read_services(self._layout)]
        if mlflow_ui and mlflow.NAME not in {service.name for service in services}:
            ports = read_ports(self._layout)
            services.append(mlflow.build_service(self._layout, ports, load_settings(self.home)))
        write_services(self._layout, services)
        os.kill(running.pid, signal.SIGHUP)

    def _publish(self) -> None:
        """Write the file by which every other command finds the servers."""
        names = {service.name for service in read_services(self._layout) if service.wanted}
        ports = read_ports(self._layout)
        content = {"settings": addresses_of(ports, names), "ports": ports}
        write_file(self._layout.stack_file, json.dumps(content, indent=2).encode())

    # -- stopping -------------------------------------------------------------------------------------

    def _stop(self, progress: Progress) -> None:
        self._layout.stack_file.unlink(missing_ok=True)  # first: nobody should be sent to closing ports
        state = read_state(self._layout)
        running = self._supervisor()
        if running is not None:
            progress("stack", "stopping")
            process.stop(running, within_s=_END_WITHIN_S)
            state = read_state(self._layout)
        services = {service.name: service for service in read_services(self._layout)}
        for name, fact in (state.services if state else {}).items():
            if fact.process is not None and process.members(fact.process):
                progress(name, "was left behind; stopping it")
                process.stop(fact.process, within_s=services[name].stop_within_s if name in services else 10.0)
        self._layout.services_file.unlink(missing_ok=True)
        self._layout.state_file.unlink(missing_ok=True)
        if running is not None:
            progress("stack", "stopped; data stays in " + str(self.home))

    # -- shared ---------------------------------------------------------------------------------------

    def _want(self, name: str, *, wanted: bool) -> None:
        running = self._supervisor()
        if running is None:
            raise RejectedError(f"the stack in {self.home} does not run", hint="start it: `headrace up`")
        services = read_services(self._layout)
        if name not in {service.name for service in services}:
            known = ", ".join(service.name for service in services)
            raise RejectedError(f"the stack has no server {name!r}", hint=f"choose one of: {known}")
        write_services(
            self._layout,
            [replace(each, wanted=wanted) if each.name == name else each for each in services],
        )
        os.kill(running.pid, signal.SIGHUP)

    def _supervisor(self) -> ProcessName | None:
        state = read_state(self._layout)
        return state.supervisor if state and process.is_alive(state.supervisor) else None

    def _wait_for(self, happened: Callable[[], bool], what: str, within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not happened():
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"waited {within_s:g} s for {what}",
                    hint=f"read {self._layout.log_file('supervisor')}",
                )
            time.sleep(_PAUSE_S)

    @contextlib.contextmanager
    def _one_command(self, progress: Progress) -> Iterator[None]:
        """Let one command at a time change this stack."""
        self._layout.run_dir.mkdir(parents=True, exist_ok=True)
        with self._layout.command_lock.open("w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("stack", "waiting for another headrace command to finish")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
