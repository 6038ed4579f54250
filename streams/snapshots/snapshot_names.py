"""Names of snapshots: the offset of the state, the epoch of the owner that wrote it, and whether it is whole.

<offset>-<epoch>.snapshot    <offset>-<epoch>.delta    without an epoch: of nobody who owned the partition
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["DELTA", "WHOLE", "SnapshotName", "snapshots_among"]

WHOLE, DELTA = "snapshot", "delta"
_NAME = re.compile(rf"(\d{{20}})(?:-(\d{{1,20}}))?\.({WHOLE}|{DELTA})")


class SnapshotName(NamedTuple):
    """A name in its parts; of one owner and offset the whole state is greater than the changes.

    >>> SnapshotName(12, 7, WHOLE) > SnapshotName(12, 7, DELTA) > SnapshotName(11, 8, WHOLE)
    True
    """

    offset: int
    epoch: int
    kind: str

    def __str__(self) -> str:
        epoch = f"-{self.epoch:016d}" if self.epoch else ""
        return f"{self.offset:020d}{epoch}.{self.kind}"

    @classmethod
    def read(cls, name: str) -> "SnapshotName | None":
        """The parts of a name; None when it is no snapshot's.

        >>> SnapshotName.read(str(SnapshotName(12, 7, DELTA)))
        SnapshotName(offset=12, epoch=7, kind='delta')
        """
        match = _NAME.fullmatch(name)
        return None if match is None else cls(int(match[1]), int(match[2] or 0), match[3])


def snapshots_among(names: Iterable[str]) -> dict[str, SnapshotName]:
    """Names of snapshots with their parts, oldest first."""
    known = {name: parts for name in names if (parts := SnapshotName.read(name)) is not None}
    return dict(sorted(known.items(), key=lambda each: each[1]))
