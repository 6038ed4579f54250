"""One stream worker a home, and whether the last one ended with everything saved.

<state_dir>/<project>/stream.lock    held by the worker (flock); empty while one runs or after it was killed,
                                     "saved" after it has stopped by itself
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from headrace.config import Settings
from headrace.errors import RejectedError

__all__ = ["hold", "lock_path", "mark_saved", "stopped_worker"]

_SAVED = b"saved\n"


def lock_path(settings: Settings, project: str) -> Path:
    """The lock's file."""
    return settings.state_dir / project / "stream.lock"


def hold(path: Path) -> int:
    """Keep a second worker from writing the same files; gives what :func:`os.close` gives up.

    Raises:
        RejectedError: one is running.
    """
    handle = _locked(path, hint="stop it first, or give this one a home of its own")
    os.ftruncate(handle, 0)
    return handle


def mark_saved(handle: int) -> None:
    """Everything the worker knows is durable, and it does nothing more."""
    os.pwrite(handle, _SAVED, 0)
    os.fsync(handle)


@contextlib.contextmanager
def stopped_worker(settings: Settings, project: str) -> Iterator[None]:
    """Keep workers away while their files are changed.

    Raises:
        RejectedError: one runs, or the last one was killed, so that state, stores and logs are not of one moment.
    """
    path = lock_path(settings, project)
    new = not path.exists()
    handle = _locked(path, hint="stop `headrace run stream` (Ctrl-C or SIGTERM) and run the command again")
    try:
        if new:
            mark_saved(handle)
        elif os.pread(handle, len(_SAVED), 0) != _SAVED:
            raise RejectedError(
                f"the last stream worker of {path.parent} was killed before it had saved",
                hint="start `headrace run stream`, stop it with Ctrl-C or SIGTERM, and run the command again",
            )
        yield
    finally:
        os.close(handle)


def _locked(path: Path, *, hint: str) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise RejectedError(f"another stream worker already holds {path}", hint=hint) from error
    return handle
