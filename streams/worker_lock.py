"""The stream workers of a home: their names, whether any runs, and whether all ended with everything saved.

<state_dir>/<project>/stream.lock        held by every worker together, or by whoever must have none (flock)
<state_dir>/<project>/workers/<n>.lock   held by one worker; empty while it runs or after it was killed,
                                         "saved" after it has stopped by itself
<state_dir>/<project>/workers/<n>.json   its process and where its metrics are, while it runs
<state_dir>/<project>/workers/home       a random text: workers of two homes never have one name

A worker that starts takes the place of one that was killed, if there is one, and with it its name: Kafka gives it the
partitions of that one at once, instead of waiting for it to come back.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path

import psutil

from headrace.config import Settings
from headrace.contracts.codec import decode, encode
from headrace.errors import IntegrityError, RejectedError

__all__ = ["RESTART", "RunningWorker", "WorkerPlace", "lock_path", "running_workers", "stopped_worker", "take_place"]

RESTART = "a worker learns definitions when it begins; stop and start `headrace run stream`"
_SAVED = b"saved\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    pid: int
    metrics: str
    views: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """A worker's place among those of its home."""

    name: str
    """No other that lives has it."""
    number: int
    """Of the place; the first is 0."""
    facts: Path
    """Says who is there and where it can be asked."""
    handles: tuple[int, int]

    def mark_saved(self) -> None:
        """Everything the worker knows is durable, and it does nothing more."""
        _mark_saved(self.handles[1])

    def say(self, *, metrics: str, views: dict[str, str]) -> None:
        """Let :func:`running_workers` find this process.

        Args:
            metrics: address of its metrics.
            views: versions of the definitions it has.
        """
        # The stream does not need it; what has no room for it will say so with its first file.
        with contextlib.suppress(OSError):
            self.facts.write_bytes(encode(_Facts(pid=os.getpid(), metrics=metrics, views=views)))

    def give_up(self) -> None:
        """Let others have it."""
        self.facts.unlink(missing_ok=True)
        for handle in self.handles:
            os.close(handle)


def lock_path(settings: Settings, project: str) -> Path:
    """The file that all workers hold."""
    return settings.state_dir / project / "stream.lock"


def take_place(settings: Settings, project: str) -> WorkerPlace:
    """Be one of the workers of this home.

    Raises:
        RejectedError: somebody changes their files just now.
    """
    path = lock_path(settings, project)
    handle = _locked(path, fcntl.LOCK_SH)
    if handle is None:
        raise RejectedError(
            f"the files of {path.parent} are being changed", hint="`headrace erase` runs; start again when it is done"
        )
    folder = _places(path)
    folder.mkdir(exist_ok=True)
    home = _home(folder / "home")
    known = sorted(folder.glob("*.lock"), key=lambda file: int(file.stem))
    killed = [int(file.stem) for file in known if file.read_bytes() != _SAVED]
    for number in chain(killed, count()):
        own = _locked(folder / f"{number}.lock", fcntl.LOCK_EX)
        if own is not None:
            os.ftruncate(own, 0)
            return WorkerPlace(
                name=f"headrace.{project}.{home}.{number}",
                number=number,
                facts=folder / f"{number}.json",
                handles=(handle, own),
            )
    raise AssertionError("there is always one number more")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningWorker:
    """A stream worker of this home that runs now."""

    project: str
    number: int
    pid: int
    metrics: str
    """Address of its metrics; empty when it serves none."""
    views: dict[str, str]
    """Versions of the definitions it began with."""


def running_workers(settings: Settings) -> list[RunningWorker]:
    """Workers of every project of this home, in order."""
    found = []
    for path in settings.state_dir.glob("*/workers/*.json"):
        with contextlib.suppress(FileNotFoundError, IntegrityError):
            facts = decode(path.read_bytes(), _Facts)
            # Of one that was killed the facts stay; its number may be another process' by now.
            if psutil.pid_exists(facts.pid) and _is_held(path.with_suffix(".lock")):
                found.append(
                    RunningWorker(
                        project=path.parts[-3],
                        number=int(path.stem),
                        pid=facts.pid,
                        metrics=facts.metrics,
                        views=facts.views,
                    )
                )
    return sorted(found, key=lambda worker: (worker.project, worker.number))


@contextlib.contextmanager
def stopped_worker(settings: Settings, project: str) -> Iterator[None]:
    """Keep workers away while their files are changed.

    Raises:
        RejectedError: one runs, or one was killed and nobody took its place, so that state, stores and logs are not of
            one moment.
    """
    path = lock_path(settings, project)
    handle = _locked(path, fcntl.LOCK_EX)
    if handle is None:
        pids = [str(worker.pid) for worker in running_workers(settings) if worker.project == project]
        who = (
            f"stream workers run (pid {', '.join(pids)})"
            if pids
            else "a worker starts, or another `headrace erase` runs"
        )
        raise RejectedError(
            f"`headrace erase` needs the files of {path.parent} for itself, and {who}",
            hint="stop `headrace run stream` (Ctrl-C or SIGTERM) and run the command again; --dry-run needs no stop",
        )
    try:
        for place in sorted(_places(path).glob("*.lock")):
            if place.read_bytes() != _SAVED:
                raise RejectedError(
                    f"the last stream worker of {path.parent} was killed before it had saved ({place.name})",
                    hint="start `headrace run stream`, stop it with Ctrl-C or SIGTERM, and run the command again",
                )
        yield
    finally:
        os.close(handle)


def _places(lock: Path) -> Path:
    return lock.parent / "workers"


def _mark_saved(handle: int) -> None:
    os.pwrite(handle, _SAVED, 0)
    os.fsync(handle)


def _home(path: Path) -> str:
    """The text in the file, made by whoever comes first."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        text = os.pread(handle, 64, 0).decode()
        if not text:
            text = secrets.token_hex(4)
            os.pwrite(handle, text.encode(), 0)
            os.fsync(handle)
        return text
    finally:
        os.close(handle)


def _is_held(path: Path) -> bool:
    handle = _locked(path, fcntl.LOCK_EX)
    if handle is not None:
        os.close(handle)
    return handle is None


def _locked(path: Path, kind: int) -> int | None:
    """A handle that holds the lock; None when somebody else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
