"""Rows on the disk in buckets, so that one bucket at a time fits into memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.errors import HeadraceError

__all__ = ["Spill"]


class Spill:
    """Tables of one schema, cut by bucket. Rows of a bucket stay in the order in which they were added.

    Each piece is appended as an Arrow stream of its own, so that no file stays open between two.

    Args:
        folder: made when absent; one file a bucket.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, table: pa.Table, buckets: NDArray[np.integer]) -> None:
        """Append each row to its bucket.

        Raises:
            HeadraceError: the disk is full or the folder cannot be written.
        """
        if not len(buckets):
            return
        order = np.argsort(buckets, kind="stable")
        sorted_ = table.take(pa.array(order))
        numbers, starts = np.unique(buckets[order], return_index=True)
        for number, start, end in zip(numbers.tolist(), starts, [*starts[1:], len(order)], strict=True):
            self._append(int(number), sorted_.slice(int(start), int(end - start)))

    def read(self, bucket: int) -> pa.Table | None:
        """Everything in a bucket; None when there is nothing."""
        path = self._path(bucket)
        if not path.exists():
            return None
        return pa.concat_tables(list(_streams(path))).combine_chunks()

    def remove(self, bucket: int) -> None:
        """Give its space back."""
        self._path(bucket).unlink(missing_ok=True)

    def _append(self, bucket: int, table: pa.Table) -> None:
        try:
            with self._path(bucket).open("ab") as file, pa.ipc.new_stream(file, table.schema) as writer:
                writer.write_table(table)
        except OSError as error:
            raise HeadraceError(
                f"{self._folder} cannot be written: {error}", hint="free space, or name another folder"
            ) from error

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket}.arrows"


def _streams(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path)) as source:
        while source.tell() < source.size():
            yield pa.ipc.open_stream(source).read_all()
