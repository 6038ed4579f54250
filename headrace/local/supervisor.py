"""The process that keeps the servers running: ``python -m headrace.local.supervisor HOME``.

It knows nothing about Kafka or Redis. It reads ``run/services.json``, makes the running processes
match it, restarts what dies, and reports in ``run/state.json``. SIGHUP makes it read the file again,
SIGTERM stops everything. It also stops everything when the file disappears, so deleting a home does
not leave servers behind.
"""

import ctypes
import fcntl
import logging
import os
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headrace.errors import HeadraceError
from headrace.local import process
from headrace.local.layout import Layout
from headrace.local.process import ProcessName
from headrace.local.restart import NEVER_DIED, Deaths
from headrace.local.service import (
    Phase,
    Service,
    ServiceState,
    SupervisorState,
    read_services,
    write_state,
)

__all__ = ["launch", "main"]

_log = logging.getLogger("headrace.supervisor")

_LOOK_EVERY_S = 2.0
"""Upper bound of a wait; signals end it at once. Only the vanished home is noticed by looking."""
_LARGEST_LOG_BYTES = 20_000_000
_PR_SET_PDEATHSIG = 1


def launch(layout: Layout) -> None:
    """Start a supervisor that outlives the caller; returns once it is detached."""
    with layout.log_file("supervisor").open("ab") as log:
        starter = subprocess.Popen(
            [sys.executable, "-m", "headrace.local.supervisor", str(layout.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=layout.home,
        )
    starter.wait()


class _Child:
    """One service, its process and its history."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.popen: subprocess.Popen[bytes] | None = None
        self.process: ProcessName | None = None
        self.started_s = 0.0
        self.deaths: Deaths = NEVER_DIED
        self.not_before_s = 0.0
        self.state = ServiceState(phase=Phase.STOPPED, since_s=time.time())

    def start(self, layout: Layout) -> None:
        """Start the process; one that cannot be started counts as one that died at once."""
        self.started_s = time.monotonic()
        try:
            self._spawn(layout.log_file(self.service.name), layout.home)
        except (OSError, subprocess.SubprocessError) as error:
            self._bury(f"could not be started: {error}")
            return
        assert self.popen is not None, "it was just started"
        self.process = process.name_of(self.popen.pid)
        self.state = ServiceState(
            phase=Phase.RUNNING,
            process=self.process,
            since_s=time.time(),
            restarts=self.deaths.total,
            last_exit=self.state.last_exit,
        )
        _log.info("%s started, pid %d", self.service.name, self.popen.pid)

    def _spawn(self, log_file: Path, folder: Path) -> None:
        _rotate(log_file)
        with log_file.open("ab") as log:
            self.popen = subprocess.Popen(
                list(self.service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **self.service.environment},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def note_death(self) -> bool:
        """Take note when the process has ended by itself; True if it has."""
        if self.popen is None or (code := self.popen.poll()) is None:
            return False
        if self.process is not None:
            process.stop(self.process, within_s=0.0)  # descendants it left
        self.popen = None
        self._bury(_ending(code, time.monotonic() - self.started_s))
        return True

    def _bury(self, ending: str) -> None:
        self.deaths = self.deaths.after(time.monotonic() - self.started_s)
        self.not_before_s = time.monotonic() + self.deaths.pause_s
        self._set(Phase.FAILING if self.deaths.is_failing else Phase.WAITING, ending)
        _log.warning("%s %s; starts again in %.1f s", self.service.name, ending, self.deaths.pause_s)

    def stop(self) -> None:
        if self.process is not None and self.popen is not None:
            process.stop(self.process, within_s=self.service.stop_within_s)
            self.popen.wait()
            _log.info("%s stopped", self.service.name)
        self.popen = None
        self.deaths = NEVER_DIED
        self.not_before_s = 0.0
        self._set(Phase.STOPPED, "was stopped as asked")

    def _set(self, phase: Phase, last_exit: str) -> None:
        self.state = ServiceState(phase=phase, since_s=time.time(), restarts=self.deaths.total, last_exit=last_exit)


class _Supervisor:
    def __init__(self, layout: Layout, me: ProcessName) -> None:
        self.layout = layout
        self.me = me
        self.children: dict[str, _Child] = {}
        self.is_ending = False

    def run(self, wake: int) -> None:
        self.report()
        while not self.is_ending:
            self.reconcile()
            ready, _, _ = select.select([wake], [], [], self.pause_s())
            if ready:
                self.take_signals(os.read(wake, 64))
        self.stop_all()

    def take_signals(self, numbers: bytes) -> None:
        self.is_ending = self.is_ending or signal.SIGTERM in numbers or signal.SIGINT in numbers

    def reconcile(self) -> None:
        """Make what runs equal what is wanted, once."""
        if not self.layout.services_file.exists():
            _log.warning("%s is gone; stopping", self.layout.services_file)
            self.is_ending = True
            return
        changed = False
        for service in read_services(self.layout):
            child = self.children.setdefault(service.name, _Child(service))
            child.service = service
            changed |= child.note_death()
            if service.wanted and child.popen is None and time.monotonic() >= child.not_before_s:
                child.start(self.layout)
                changed = True
            elif not service.wanted and child.state.phase is not Phase.STOPPED:
                child.stop()
                changed = True
        if changed:
            self.report()

    def pause_s(self) -> float:
        now = time.monotonic()
        waits = [c.not_before_s - now for c in self.children.values() if c.popen is None and c.service.wanted]
        return max(0.0, min([_LOOK_EVERY_S, *waits]))

    def stop_all(self) -> None:
        with ThreadPoolExecutor(max(len(self.children), 1)) as threads:
            list(threads.map(_Child.stop, self.children.values()))
        if self.layout.run_dir.exists():
            self.report()

    def report(self) -> None:
        states = {name: child.state for name, child in self.children.items()}
        try:
            write_state(self.layout, SupervisorState(supervisor=self.me, services=states))
        except HeadraceError as error:
            # A full disk must not take the servers down; `status` shows the older report meanwhile.
            _log.error("%s", error)


def main(home: Path) -> int:
    """Detach, take the lock and supervise until told to stop."""
    if os.fork() > 0:
        return 0  # the starter ends here, so the supervisor belongs to nobody who would have to reap it
    os.setsid()  # away from the terminal, and the leader of a session of its own, see process.py
    layout = Layout(home)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True)
    with layout.supervisor_lock.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("another supervisor holds %s", layout.supervisor_lock)
            return 1
        me = process.name_of(os.getpid())
        assert me is not None, "this process is alive"
        _Supervisor(layout, me).run(_wake_pipe())
    return 0


def _wake_pipe() -> int:
    """A descriptor that becomes readable when a signal arrives; its bytes are the signal numbers."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reading


def _die_with_parent() -> None:
    """In the child: ask Linux to end it when the supervisor is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _ending(code: int, lived_s: float) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{how} after {lived_s:.1f} s"


def _rotate(log: Path) -> None:
    """Keep one older log, so that output never fills the disk over many restarts."""
    if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
