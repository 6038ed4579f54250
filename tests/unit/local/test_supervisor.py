"""The supervisor keeps processes as wanted; tried on small ones instead of servers."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.local import process, supervisor
from headrace.local.layout import Layout
from headrace.local.process import ProcessName
from headrace.local.service import Phase, Service, ServiceState, read_state, write_services
from tests.eventually import eventually

_WAITS = (sys.executable, "-S", "-c", "import signal; signal.pause()")


class _Run:
    """A home with a running supervisor."""

    def __init__(self, home: Path) -> None:
        self.layout = Layout(home)
        self.layout.run_dir.mkdir()
        self.layout.logs_dir.mkdir()

    def want(self, *services: Service) -> None:
        write_services(self.layout, list(services))
        if (me := self.supervisor) is not None:
            os.kill(me.pid, signal.SIGHUP)
        else:
            supervisor.launch(self.layout)

    @property
    def supervisor(self) -> ProcessName | None:
        state = read_state(self.layout)
        return state.supervisor if state and process.is_alive(state.supervisor) else None

    def state(self, name: str) -> ServiceState | None:
        state = read_state(self.layout)
        return state.services.get(name) if state else None

    def running(self, name: str, after: ProcessName | None = None) -> ProcessName:
        """The process of a running service, once it is another one than ``after``."""

        def probe() -> ProcessName | None:
            state = self.state(name)
            found = state.process if state and state.phase is Phase.RUNNING else None
            return found if found and found != after and process.is_alive(found) else None

        return eventually(probe)  # type: ignore[return-value]  # it returns only what is true

    def end(self) -> None:
        if (me := self.supervisor) is not None:
            process.stop(me, within_s=20.0)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[], _Run]]:
    runs: list[_Run] = []

    def make() -> _Run:
        home = tmp_path / f"home{len(runs)}"
        home.mkdir()
        runs.append(_Run(home))
        return runs[-1]

    yield make
    for run in runs:
        run.end()


def test_a_killed_child_comes_back_and_the_restart_is_counted(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=_WAITS))
    first = run.running("a")

    os.kill(first.pid, signal.SIGKILL)
    run.running("a", after=first)

    state = run.state("a")
    assert state is not None
    assert state.restarts == 1
    assert state.last_exit.startswith("was killed by SIGKILL")


def test_one_service_is_stopped_and_started_while_another_goes_on(launch: Callable[[], _Run]) -> None:
    run = launch()
    a, b = Service(name="a", command=_WAITS), Service(name="b", command=_WAITS)
    run.want(a, b)
    first_a, first_b = run.running("a"), run.running("b")

    run.want(Service(name="a", command=_WAITS, wanted=False), b)
    eventually(lambda: (state := run.state("a")) is not None and state.phase is Phase.STOPPED)
    assert not process.is_alive(first_a)
    run.want(a, b)
    run.running("a", after=first_a)

    assert run.running("b") == first_b


def test_a_service_that_keeps_dying_is_reported_as_failing(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=(sys.executable, "-S", "-c", "raise SystemExit(3)")))

    eventually(lambda: (state := run.state("a")) is not None and state.phase is Phase.FAILING)

    state = run.state("a")
    assert state is not None
    assert state.last_exit.startswith("ended with exit code 3")


def test_a_missing_program_is_reported_and_does_not_stop_the_others(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=("/does/not/exist",)), Service(name="b", command=_WAITS))

    run.running("b")
    eventually(lambda: (state := run.state("a")) is not None and state.last_exit.startswith("could not be started"))


def test_sigterm_ends_the_supervisor_and_its_children(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=_WAITS), Service(name="b", command=_WAITS))
    children = [run.running("a"), run.running("b")]

    run.end()

    assert run.supervisor is None
    assert not any(process.is_alive(child) for child in children)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_children_do_not_outlive_a_killed_supervisor(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=_WAITS))
    child, me = run.running("a"), run.supervisor
    assert me is not None

    os.kill(me.pid, signal.SIGKILL)

    eventually(lambda: not process.is_alive(child))


def test_deleting_the_home_ends_everything(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=_WAITS))
    child, me = run.running("a"), run.supervisor
    assert me is not None

    run.layout.services_file.unlink()

    eventually(lambda: not process.is_alive(child) and not process.is_alive(me))


def test_a_second_supervisor_of_the_same_home_goes_away(launch: Callable[[], _Run]) -> None:
    run = launch()
    run.want(Service(name="a", command=_WAITS))
    child, me = run.running("a"), run.supervisor

    supervisor.launch(run.layout)

    eventually(lambda: "another supervisor" in run.layout.log_file("supervisor").read_text())
    assert run.supervisor == me
    assert process.is_alive(child)
