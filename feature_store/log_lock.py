"""One at a time: compaction, retention and erasing change files that are already written."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import RejectedError

__all__ = ["upkeep_lock"]


@contextlib.contextmanager
def upkeep_lock(offline_dir: Path, project: str) -> Iterator[None]:
    """Hold a project's offline log against others who change written files; the stream's writer needs no lock.

    Args:
        offline_dir: ``Settings.offline_dir``.
        project: ``Project.name``.

    Raises:
        RejectedError: another process compacts, cuts or erases.
    """
    folder = offline_dir / project
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".upkeep.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RejectedError(
                f"another process is at work on the files of {folder}", hint="wait for it to end and try again"
            ) from error
        yield
