"""Who changes files of the offline log that are already written, and who reads them for hours.

upkeep      compaction, retention, erasing, retiring; the end of a backfill, for seconds     one at a time
backfill    of one view, from its beginning to its end                                       one for each view
erasing     what a backfill has computed would bring a subject back                          beside no backfill
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import RejectedError

__all__ = ["backfill_lock", "no_backfills", "upkeep_lock"]

_BACKFILLS = ".backfills.lock"


def upkeep_lock(offline_dir: Path, project: str) -> contextlib.AbstractContextManager[None]:
    """Hold a project's offline log against others who change written files; the stream's writer needs no lock.

    Args:
        offline_dir: ``Settings.offline_dir``.
        project: ``Project.name``.

    Raises:
        RejectedError: another process compacts, cuts or erases.
    """
    folder = offline_dir / project
    return _held(folder, ".upkeep.lock", fcntl.LOCK_EX, f"another process is at work on the files of {folder}")


@contextlib.contextmanager
def backfill_lock(offline_dir: Path, project: str, view: str) -> Iterator[None]:
    """Be the one that computes a view from the log, which may be compacted and cut meanwhile.

    Raises:
        RejectedError: another process computes the view, or subjects are being erased.
    """
    folder = offline_dir / project
    with (
        _held(folder, _BACKFILLS, fcntl.LOCK_SH, f"subjects are being erased from {folder}"),
        _held(folder, f".backfill-{view}.lock", fcntl.LOCK_EX, f"another process computes view {view!r}"),
    ):
        yield


def no_backfills(offline_dir: Path, project: str) -> contextlib.AbstractContextManager[None]:
    """Keep backfills away.

    Raises:
        RejectedError: one runs.
    """
    folder = offline_dir / project
    return _held(folder, _BACKFILLS, fcntl.LOCK_EX, f"a backfill of project {project!r} runs")


@contextlib.contextmanager
def _held(folder: Path, name: str, kind: int, busy: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RejectedError(busy, hint="wait for it to end and try again") from error
        yield
