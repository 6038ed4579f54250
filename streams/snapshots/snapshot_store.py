"""Where the snapshots of one task lie: a folder here; a bucket in :mod:`streams.snapshots.object_store`."""

import contextlib
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from headrace.errors import HeadraceError

__all__ = ["FolderStore", "SnapshotStore"]

_UNFINISHED = ".unfinished"


class SnapshotStore(Protocol):
    """Named bytes. A name is there with all its bytes or not at all."""

    def names(self) -> list[str]:
        """Every name; none when nothing was ever written."""

    def read(self, name: str) -> memoryview:
        """The bytes of a name that is there, in memory that may be written."""

    def write(self, name: str, parts: Sequence[memoryview]) -> None:
        """Write, or replace, so that it survives a crash of the machine once this returns.

        Raises:
            HeadraceError: it cannot be written; what was there before stays.
        """

    def remove(self, name: str) -> None:
        """Remove, if it is there."""

    def tidy(self, may_remove: Callable[[str], bool] = lambda _: True) -> None:
        """Remove what is left of writes that did not end, of names for which it may be."""

    def place(self, name: str) -> str:
        """A name as a person finds it."""


class FolderStore:
    """Files of one folder, renamed into place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Names of the files."""
        if not self._folder.is_dir():
            return []
        return [path.name for path in self._folder.iterdir() if not path.name.endswith(_UNFINISHED)]

    def read(self, name: str) -> memoryview:
        """The bytes of a file."""
        path = self._folder / name
        # Memory of numpy is in large pages: a tenth of the time until it is there.
        data = np.empty(path.stat().st_size, dtype=np.uint8).data
        with path.open("rb", buffering=0) as file:
            left = data
            # One call gives at most two gigabytes.
            while left and (taken := file.readinto(left)):
                left = left[taken:]
        return data

    def write(self, name: str, parts: Sequence[memoryview]) -> None:
        """Write a file beside its place, sync it, rename it, sync the folder.

        Raises:
            HeadraceError: the disk is full or the folder cannot be written.
        """
        target = self._folder / name
        unfinished = target.with_name(f".{name}.{os.getpid()}{_UNFINISHED}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
            self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise HeadraceError(
                f"the disk of {self._folder} is full" if full else f"snapshot {target} cannot be written: {error}",
                hint="free space and start again: everything since the last snapshot is replayed",
            ) from error

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self._folder / name).unlink(missing_ok=True)

    def tidy(self, may_remove: Callable[[str], bool] = lambda _: True) -> None:
        """Remove files that were never renamed."""
        for path in self._folder.glob(f".*{_UNFINISHED}"):
            if may_remove(path.name.removesuffix(_UNFINISHED).rpartition(".")[0].removeprefix(".")):
                path.unlink(missing_ok=True)

    def place(self, name: str) -> str:
        """The path of a file."""
        return str(self._folder / name)

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
