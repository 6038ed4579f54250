"""The snapshots of one task: whole states, and chains of changes that hang on them.

    gen 1   <offset>-<epoch>.snapshot ◄─ <offset>-<epoch>.delta
    gen 2                                                 <offset>-<epoch>.snapshot ◄─ <offset>-<epoch>.delta

Each change names the bytes it follows by their digest. A new whole state is put together from files, in the thread that
saves, when the changes outgrow the last one. The generation before stays until the next, so that whatever single file
is damaged costs a longer replay and nothing else. Changes call keys by the slots of one life of a process; so the first
save of a life writes a whole state.

Names carry the epoch of their owner (streams.ownership.claims; none: nobody owned the partition). What a former owner
finishes after the next one has begun is not believed (streams.ownership.tenures), by whoever reads, and goes with the
next whole state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from feature_store.state.state_merge import merge
from headrace.errors import IntegrityError
from headrace.logging import get_logger
from streams.ownership.tenures import Tenures
from streams.snapshots.owner_record import read_tenures, record_epoch, take_office
from streams.snapshots.snapshot_names import DELTA, WHOLE, SnapshotName, snapshots_among
from streams.snapshots.snapshot_piece import Piece, Snapshot, decode, encode
from streams.snapshots.snapshot_store import SnapshotStore

__all__ = ["SnapshotChain", "offsets_kept", "read_newest", "read_pieces", "remove_all", "write_only"]

_OUTGROWN = 0.5
"""Size of the changes beside the whole state they follow: bounds what a restart reads and, over time, a save writes."""
_MOST_CHANGES = 100
"""Files of one chain; a restart opens each."""
_KEPT = 2
_LOG = get_logger(__name__)


@dataclass
class _Generation:
    """A whole state and the changes that follow it."""

    names: list[str]
    """Oldest first; more than one chain in the oldest generation of a restart."""
    whole_bytes: int = 0
    changed_bytes: int = 0


@dataclass
class _Pieces:
    """Pieces read from a store, each once."""

    store: SnapshotStore
    definition: str
    read: dict[str, Piece | None] = field(default_factory=dict)

    def get(self, name: str) -> Piece | None:
        """A piece; None when it is not there, damaged, or of another definition, which is said once."""
        if name not in self.read:
            self.read[name] = self._read(name)
        return self.read[name]

    def chain(self, name: str) -> list[str]:
        """Names from a whole state to ``name``; empty when a link is missing."""
        names: list[str] = []
        while (piece := self.get(name)) is not None:
            names.insert(0, name)
            if not piece.parent:
                return names
            parent = self.get(piece.parent)
            if parent is None or parent.digest != piece.parent_digest:
                break
            name = piece.parent
        return []

    def merged(self, names: list[str]) -> Snapshot:
        """The state at the end of a chain."""
        snapshots = [piece.snapshot for name in names if (piece := self.get(name)) is not None]
        if len(snapshots) != len(names):
            raise IntegrityError(f"{self.store.place(names[0])} and what follows it are not whole any more")
        if len(snapshots) == 1:
            return snapshots[0]  # as it would be put together, without a copy of it
        return replace(snapshots[-1], state=merge([snapshot.state for snapshot in snapshots]))

    def _read(self, name: str) -> Piece | None:
        place = self.store.place(name)
        try:
            piece = decode(self.store.read(name), place)
        except IntegrityError as error:
            _LOG.warning("snapshot not used", path=place, why=error.args[0])
            return None
        except FileNotFoundError:
            return None
        if piece.snapshot.definition == self.definition:
            return piece
        _LOG.warning("snapshot not used", path=place, why="the view is defined otherwise now")
        return None


class SnapshotChain:
    """Writes and reads the snapshots of one task.

    Args:
        store: where they lie; nobody else writes there but former owners that do not know it yet.
        definition: version of the view.
        epoch: of the ownership; 0: nobody ever takes over.
    """

    def __init__(self, store: SnapshotStore, definition: str, epoch: int = 0) -> None:
        self._store = store
        self._definition = definition
        self._epoch = epoch
        self.tenures = Tenures()
        """Who owned it, this owner last; known once it is restored."""
        self._generations: list[_Generation] = []
        self._restored: list[str] = []
        """Chain this life began with, until its own first snapshot is written."""
        self._newest = self._digest = ""
        """Piece that the next change follows; empty before the first of this life."""
        self.is_broken = False
        """The files of the chain are not what was written; the next snapshot must bring the whole state."""

    def restore(self) -> Snapshot | None:
        """The newest state that is whole, as :meth:`ViewState.restore` takes it; it is this owner's from then on.

        Raises:
            FencedError: there is a newer owner.
        """
        if self._epoch:
            found, self.tenures = take_office(self._store, self._epoch, self._find)
        else:
            found, _ = self._find(read_tenures(self._store))
        self._store.tidy(self._may_remove)
        if found is None:
            return None
        snapshot, chain = found
        names = list(snapshots_among(self._store.names()))
        older = names[: names.index(chain[0])] if chain[0] in names else []
        self._generations = [_Generation(older)] if older else []
        self._generations.append(_Generation(chain))
        self._restored = chain
        return _numbered_anew(snapshot)

    def _find(self, tenures: Tenures) -> tuple["tuple[Snapshot, list[str]] | None", int]:
        """The newest state, and the offset behind it."""
        found = _newest(self._store, self._definition, tenures)
        return found, 0 if found is None else found[0].offset + 1

    def write(self, taken: Snapshot, *, whole: bool = False) -> None:
        """Make what was taken durable; in the order it was taken.

        Args:
            taken: what changed since the one before.
            whole: it is the whole state.

        Raises:
            HeadraceError: it cannot be written.
        """
        if whole:
            self._write_whole(taken)
            self.is_broken = False
        elif self.is_broken:
            return
        elif self._newest and not self._is_due(taken):
            self._write_changes(taken)
        else:
            self._put_together(taken)

    def _is_due(self, taken: Snapshot) -> bool:
        """Whether to write a whole state instead of what changed."""
        current = self._generations[-1]
        return (
            len(self._generations) < _KEPT
            or current.changed_bytes > _OUTGROWN * current.whole_bytes
            or len(current.names) > _MOST_CHANGES
            # Two snapshots at one offset: the second must not take the name of what it follows.
            or self._newest in (self._name(taken.offset, DELTA), self._name(taken.offset, WHOLE))
        )

    def _put_together(self, taken: Snapshot) -> None:
        pieces = _Pieces(self._store, self._definition)
        before: list[Mapping[str, NDArray[np.generic]]] = []
        try:
            if self._newest:
                before = [pieces.merged(self._generations[-1].names).state]
            elif self._restored:
                before = [_numbered_anew(pieces.merged(self._restored)).state]
            state = merge([*before, taken.state])
        except IntegrityError as error:
            # They were whole when they were written or read: the disk lost them since.
            _LOG.warning("snapshot files lost; the whole state is saved next time", why=error.args[0])
            self.is_broken = True
            return
        self._write_whole(replace(taken, state=state))

    def _write_whole(self, snapshot: Snapshot) -> None:
        name = self._name(snapshot.offset, WHOLE)
        parts, digest = encode(snapshot)
        self._store.write(name, parts)
        self._newest, self._digest, self._restored = name, digest, []
        if self._generations and self._generations[-1].names == [name]:
            self._generations.pop()
        self._generations.append(_Generation([name], whole_bytes=_size(parts)))
        del self._generations[:-_KEPT]
        kept = {name for generation in self._generations for name in generation.names}
        for name in snapshots_among(self._store.names()):
            if name not in kept and self._may_remove(name):
                self._store.remove(name)

    def _write_changes(self, taken: Snapshot) -> None:
        name = self._name(taken.offset, DELTA)
        parts, digest = encode(taken, parent=self._newest, parent_digest=self._digest)
        self._store.write(name, parts)
        self._newest, self._digest = name, digest
        self._generations[-1].names.append(name)
        self._generations[-1].changed_bytes += _size(parts)

    def _name(self, offset: int, kind: str) -> str:
        return str(SnapshotName(offset, self._epoch, kind))

    def _may_remove(self, name: str) -> bool:
        """Whether nobody newer can have written it: this owner may have been fenced and not know it."""
        parts = SnapshotName.read(name)
        return not self._epoch or (record_epoch(name) if parts is None else parts.epoch) <= self._epoch


def read_newest(store: SnapshotStore, definition: str) -> Snapshot | None:
    """The newest state of this definition that is whole; damaged files are passed over with a warning."""
    found = _newest(store, definition, read_tenures(store))
    return None if found is None else _numbered_anew(found[0])


def read_pieces(store: SnapshotStore) -> dict[str, Snapshot | None]:
    """Every file by its name, whole states and changes as they are; None for one that is damaged."""
    found: dict[str, Snapshot | None] = {}
    for name in snapshots_among(store.names()):
        try:
            found[name] = decode(store.read(name), store.place(name)).snapshot
        except IntegrityError:
            found[name] = None
    return found


def remove_all(store: SnapshotStore) -> None:
    """Remove every file, also what is left of writes that did not end; for a task that does not run."""
    for name in snapshots_among(store.names()):
        store.remove(name)
    store.tidy()


def write_only(store: SnapshotStore, snapshot: Snapshot) -> None:
    """Write a whole state and remove everything else; for a task that does not run."""
    # As of its last owner, so that it is believed from the first moment on.
    name = str(SnapshotName(snapshot.offset, read_tenures(store).epoch, WHOLE))
    store.write(name, encode(snapshot)[0])
    for other in snapshots_among(store.names()):
        if other != name:
            store.remove(other)
    store.tidy()


def offsets_kept(store: SnapshotStore) -> list[int]:
    """Offsets of the snapshots in a store, oldest first; a restart goes back to one of them."""
    return sorted({parts.offset for parts in snapshots_among(store.names()).values()})


def _newest(store: SnapshotStore, definition: str, tenures: Tenures) -> tuple[Snapshot, list[str]] | None:
    """The newest state that is whole, its slots as in the files, and the names of the chain it is made of."""
    pieces = _Pieces(store, definition)
    for name, parts in reversed(snapshots_among(store.names()).items()):
        if not tenures.believes(parts.epoch, parts.offset):
            why = f"owner {parts.epoch} had lost its place by then"
            _LOG.warning("snapshot not used", path=store.place(name), why=why)
        elif chain := pieces.chain(name):
            return pieces.merged(chain), chain
    return None


def _numbered_anew(snapshot: Snapshot) -> Snapshot:
    """The state with its slots counted from 0, as a process that restores it counts them."""
    return replace(snapshot, state={name: array for name, array in snapshot.state.items() if name != "slots"})


def _size(parts: list[memoryview]) -> int:
    return sum(part.nbytes for part in parts)
