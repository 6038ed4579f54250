"""Whose segments lie in a folder of the offline log, where a former owner may still be writing.

A worker that was paused while its partition moved may wake inside a write: it looked whether it still owned the
partition, and finishes its file after the new owner has begun. Every segment names its owner's epoch in the footer, so
the new owner can tell such a file from those that compaction made of its own.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_store.offline_log import Segment, list_files, segment_path, sync_folder
from headrace.logging import get_logger

__all__ = ["OwnedFolder"]

_EPOCH = "headrace.epoch"
_LOG = get_logger(__name__)


class OwnedFolder:
    """One partition folder of a log, owned from an offset on.

    Args:
        folder: the partition's.
        first_offset: where ownership begins; nothing lies at or beyond it.
        epoch: of the ownership; 0 marks nothing and looks for nothing.
    """

    def __init__(self, folder: Path, first_offset: int, epoch: int) -> None:
        self._folder = folder
        self._first_offset = first_offset
        self._epoch = epoch
        self._known: set[str] = set()

    @property
    def metadata(self) -> dict[str, str]:
        """What a segment of this owner says in its footer."""
        return {_EPOCH: str(self._epoch)} if self._epoch else {}

    def wrote(self, first: int, last: int) -> None:
        """A segment of this owner was written: remove what a former owner has put beside it since."""
        if not self._epoch:
            return
        self._known.add(segment_path(self._folder, first, last).name)
        removed = False
        for segment in list_files(self._folder):
            if segment.first >= self._first_offset and segment.path.name not in self._known:
                self._known.add(segment.path.name)
                if _epoch_of(segment) < self._epoch:
                    _LOG.warning("segment of a former owner removed", path=segment.path, epoch=self._epoch)
                    segment.path.unlink(missing_ok=True)
                    removed = True
        if removed:
            sync_folder(self._folder)


def _epoch_of(segment: Segment) -> float:
    """Epoch in the footer; files without one, which compaction made, are nobody's to remove."""
    try:
        footer = pq.read_schema(segment.path).metadata or {}
    except (FileNotFoundError, pa.ArrowException):
        return float("inf")
    text = footer.get(_EPOCH.encode())
    return int(text) if text is not None else float("inf")
