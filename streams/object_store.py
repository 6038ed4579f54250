"""Snapshots in a bucket, through fsspec: ``s3://``, ``gs://``, ``abfs://`` and whatever else it knows."""

from collections.abc import Sequence
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
        # What another process wrote must be seen; fsspec remembers listings.
        self._files.invalidate_cache(self._root)
        try:
            found = self._files.ls(self._root, detail=False)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._away(error) from error
        return [str(path).rpartition("/")[2] for path in found]

    def read(self, name: str) -> bytearray:
        """The bytes of an object."""
        try:
            return bytearray(self._files.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._away(error) from error

    def write(self, name: str, parts: Sequence[memoryview]) -> None:
        """Upload an object; one that is not finished is never seen.

        Raises:
            UnavailableError: the store does not answer or refuses.
        """
        try:
            # A folder is made where folders exist (memory://, sftp://); elsewhere this does nothing.
            self._files.makedirs(self._root, exist_ok=True)
            self._files.pipe_file(f"{self._root}/{name}", b"".join(parts))
        except OSError as error:
            raise self._away(error) from error

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            self._files.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._away(error) from error

    def tidy(self) -> None:
        """Uploads that did not end are the store's own to expire; nobody can read them."""

    def place(self, name: str) -> str:
        """The address of an object."""
        return f"{self._url}/{name}"

    def _away(self, error: OSError) -> UnavailableError:
        return UnavailableError(
            f"the state store {self._url} does not answer: {error}",
            hint="check stream.state_url and the credentials its fsspec filesystem reads",
        )


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
