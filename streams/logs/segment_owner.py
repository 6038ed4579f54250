"""Whose segments lie in a folder of the offline log, where a former owner may still be writing.

A worker that was paused while its partition moved may wake inside a write: it looked whether it still owned the
partition, and finishes its file after the new owner has begun. Every segment names its owner's epoch in the footer, by
which such a file is told from others (streams.ownership.tenures). It goes with the next write of the owner, or when the
next one begins. An owner that was fenced itself, and does not know it yet, removes nothing of those after it.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.offline.offline_log import (
    Segment,
    drop_from,
    list_files,
    segment_path,
    sync_folder,
    unfinished_by,
    write_segment,
)
from headrace.logging import get_logger
from streams.ownership.tenures import Tenures

__all__ = ["OwnedFolder"]

_EPOCH = "headrace.epoch"
_LOG = get_logger(__name__)


class OwnedFolder:
    """One partition folder of a log, owned from an offset on.

    Args:
        folder: the partition's.
        first_offset: where ownership begins.
        tenures: of all owners, this one last; without, nobody ever takes over.
    """

    def __init__(self, folder: Path, first_offset: int, tenures: Tenures | None = None) -> None:
        self._folder = folder
        self._first_offset = first_offset
        self._tenures = tenures or Tenures()
        self._epoch = self._tenures.epoch
        self._known: set[str] = set()

    def take_over(self) -> None:
        """Remove what lies at or beyond the first offset, and what former owners have finished too late.

        Raises:
            IntegrityError: a segment holds offsets on both sides, and its owner had the right to write it.
        """
        if not self._epoch:
            drop_from(self._folder, self._first_offset)
            return
        self._remove_late()
        beyond = [file.path for file in list_files(self._folder) if file.last >= self._first_offset]
        newest = max(map(_epoch_of, beyond), default=0)
        # With a newer owner about, this one is fenced: what compaction has made since names nobody, and is not its own.
        is_newest = newest <= self._epoch

        def may_remove(path: Path) -> bool:
            if path not in beyond:
                return path.suffix != ".parquet" and unfinished_by(path) <= self._epoch
            return is_newest and _epoch_of(path) <= self._epoch

        drop_from(self._folder, self._first_offset, may_remove=may_remove)

    def write(self, table: pa.Table, first: int, last: int) -> None:
        """Write a segment, and remove what a former owner has put beside it since.

        Raises:
            HeadraceError: it cannot be written; nothing is left behind.
        """
        footer = {_EPOCH: str(self._epoch)} if self._epoch else None
        write_segment(table, self._folder, first, last, footer, by=self._epoch)
        if self._epoch:
            self._known.add(segment_path(self._folder, first, last).name)
            self._remove_late()

    def _remove_late(self) -> None:
        removed = False
        for segment in self._suspects():
            if segment.path.name in self._known:
                continue
            self._known.add(segment.path.name)
            epoch = _epoch_of(segment.path)
            # One that begins in its owner's time and ends behind it was not late: state and log do not fit each other.
            if 0 < epoch < self._epoch and not self._tenures.believes(epoch, segment.first):
                _LOG.info("segment of a former owner removed", path=segment.path, epoch=epoch, now=self._epoch)
                segment.path.unlink(missing_ok=True)
                removed = True
        if removed:
            sync_folder(self._folder)

    def _suspects(self) -> Iterator[Segment]:
        """Files that reach into this ownership, or into one another; only these can be late."""
        before: Segment | None = None
        for segment in list_files(self._folder):
            overlaps = before is not None and segment.first <= before.last
            if overlaps and before is not None:
                yield before
            if overlaps or segment.last >= self._first_offset:
                yield segment
            if before is None or segment.last > before.last:
                before = segment


def _epoch_of(path: Path) -> int:
    """Epoch in the footer; 0 for files that compaction made, or that are gone or no segments."""
    try:
        footer = pq.read_schema(path).metadata or {}
    except (FileNotFoundError, pa.ArrowException):
        return 0
    text = footer.get(_EPOCH.encode())
    return int(text) if text is not None else 0
