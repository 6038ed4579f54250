"""Forks stream workers out of a process that has everything imported: a life begins in a tenth of a second.

    python -m tests.drills.worker_nursery    reads lines of "<home>\\t<project folder>\\t<log>", answers each with a pid

A worker is a process of its own: it can be killed, stopped and starved of disk. The last line of its log says how it
ended, unless it was killed.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
import psutil

from headrace.config import RedisSettings, Settings, load_settings
from headrace.logging import set_up_logging
from headrace.spec.project import load_project
from streams.worker import run
from tests.drills.simulated_world import Broker, Mortality, Process, Store
from tests.stream_world import make_project, make_traffic

__all__ = ["Nursery", "WorkerLife"]

ENDED = "ended by itself: "
_PR_SET_PDEATHSIG = 1


class WorkerLife:
    """One worker process."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log
        self._process = psutil.Process(pid)

    def is_alive(self) -> bool:
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def send(self, number: signal.Signals) -> None:
        """Signal it, if it lives."""
        if self.is_alive():
            os.kill(self.pid, number)

    def limit_files(self, size: int) -> None:
        """Let no file it writes grow beyond ``size`` bytes: a write ends in the middle, as on a full disk."""
        if self.is_alive():
            self._process.rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))

    def wait(self, timeout_s: float) -> None:
        """Until it is gone."""
        gone, _ = psutil.wait_procs([self._process], timeout=timeout_s)
        assert gone, f"worker {self.pid} still runs after {timeout_s:g} s"

    def ending(self) -> str:
        """How it ended by itself; empty when it was killed."""
        last = self.log.read_text(encoding="utf-8").rstrip().rpartition("\n")[2]
        return last.removeprefix(ENDED) if last.startswith(ENDED) else ""


class Nursery:
    """Starts workers; close it at the end."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Import once.

        Args:
            environment: settings of every worker.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.drills.worker_nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment},
        )

    def start(self, home: Path, project: Path, log: Path) -> WorkerLife:
        """Begin a life."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{home}\t{project}\t{log}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery is gone"
        return WorkerLife(int(answer), log)

    def close(self) -> None:
        """End the nursery; workers are ended by who started them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def _live(home: str, project: str, log: str) -> int:
    """In the child: what `headrace run stream` does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a test that is killed leaves no worker behind
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A pipe, not the file: what a full disk does to a log is no part of the drill.
    keeper = subprocess.Popen(["tee", "-a", log], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert keeper.stdin is not None
    for number in (1, 2):
        os.dup2(keeper.stdin.fileno(), number)
    keeper.stdin.close()
    set_up_logging()
    ending = "0"
    try:
        run(load_settings(Path(home)), load_project(Path(project)))
    except Exception as error:
        traceback.print_exc()
        ending = repr(error)
    os.write(2, f"{ENDED}{ending}\n".encode())
    os.close(1)
    os.close(2)
    keeper.wait()
    return int(ending != "0")


def _warm() -> None:
    """Load every kernel a worker needs: a small stream, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        project, traffic = make_project(Path(folder) / "warm", "warm"), make_traffic(60, seed=1)
        settings = Settings(home=Path(folder), redis=RedisSettings(url="redis://nobody:1/0"))
        broker = Broker.with_traffic(project, traffic)
        Process(settings, project, broker, Store(), Mortality(None), np.random.default_rng(1)).live()


def _main() -> None:
    _warm()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(_live(*line.rstrip("\n").split("\t")))
        print(pid, flush=True)


if __name__ == "__main__":
    _main()
