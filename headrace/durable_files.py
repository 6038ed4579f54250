"""Files and folders that appear whole or not at all, and are on the disk once the call returns.

write to a hidden sibling  ──►  fsync  ──►  rename over the target  ──►  fsync the parent
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace.errors import HeadraceError

__all__ = ["new_folder", "write_file"]


def write_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write or replace one file.

    Args:
        path: the file; its folder is made when absent.
        data: the content.
        sync: whether it must be on the disk on return; without, a crash of the machine may leave it torn.

    Raises:
        HeadraceError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        unfinished.replace(path)
        if sync:
            _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Fill a folder that is renamed to ``target`` when the block ends without an error.

    When ``target`` exists by then, another writer was first: its folder stays and this one is dropped, which is right
    for content that is named by what it holds.

    Raises:
        HeadraceError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    filling: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        filling = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".unfinished", dir=target.parent))
        filling.chmod(0o755)  # mkdtemp makes it private, and others read what we publish
        yield filling
        for path in filling.rglob("*"):
            _sync(path)
        _sync(filling)
        try:
            filling.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        _sync(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        if filling is not None:
            shutil.rmtree(filling, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> HeadraceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HeadraceError(f"the disk is full; {path} was not written", hint="free space and try again")
    return HeadraceError(f"{path} cannot be written: {error}", hint="check the folder's owner and rights")
