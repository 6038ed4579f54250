"""Snapshots in a bucket, through fsspec: ``s3://``, ``gs://``, ``abfs://`` and whatever else it knows."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from headrace.errors import ConfigError, UnavailableError

__all__ = ["ObjectStore", "folders_below", "remove_folder"]


class ObjectStore:
    """Objects below one address. An object appears whole when its upload ends, and its checksum ends it besides."""

    def __init__(self, url: str) -> None:
        """Name the place; nothing is asked of it yet.

        Args:
            url: of the folder.

        Raises:
            ConfigError: no filesystem of that name is known, or its package is not installed.
        """
        self._files, self._root = _open(url)
        self._url = url

    def names(self) -> list[str]:
        """Names of the objects."""
        with self._asked():
            # What another process wrote must be seen; fsspec remembers listings.
            self._files.invalidate_cache(self._root)
            try:
                found = self._files.ls(self._root, detail=False)
            except FileNotFoundError:
                return []
        return [str(path).rpartition("/")[2] for path in found]

    def read(self, name: str) -> memoryview:
        """The bytes of an object."""
        with self._asked():
            return memoryview(bytearray(self._files.cat_file(f"{self._root}/{name}")))

    def write(self, name: str, parts: Sequence[memoryview]) -> None:
        """Upload an object; one that is not finished is never seen.

        Raises:
            UnavailableError: the store does not answer or refuses.
        """
        with self._asked():
            # A folder is made where folders exist (memory://, sftp://); elsewhere this does nothing.
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(f"{self._root}/{name}", b"".join(parts))

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with self._asked(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{name}")

    def tidy(self, may_remove: Callable[[str], bool] = lambda _: True) -> None:
        """Uploads that did not end are the store's own to expire; nobody can read them."""

    def place(self, name: str) -> str:
        """The address of an object."""
        return f"{self._url}/{name}"

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        """Whatever a filesystem's own library raises, the store did not serve; absence is an answer."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise UnavailableError(
                f"the state store {self._url} does not serve: {error}",
                hint="check stream.state_url and the credentials its fsspec filesystem reads",
            ) from error


def folders_below(url: str) -> list[str]:
    """Names of the folders right below an address."""
    files, root = _open(url)
    files.invalidate_cache(root)
    try:
        found = files.ls(root, detail=True)
    except FileNotFoundError:
        return []
    return sorted(str(entry["name"]).rpartition("/")[2] for entry in found if entry["type"] == "directory")


def remove_folder(url: str) -> None:
    """Remove everything below an address."""
    files, root = _open(url)
    files.rm(root, recursive=True)


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs  # 0.1 s, needed by those who keep state in a bucket

    try:
        files, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"stream.state_url: {url!r} cannot be opened: {error}",
            hint="install the fsspec filesystem of that scheme (s3fs, gcsfs, adlfs, …)",
        ) from error
    return files, str(root).rstrip("/")
