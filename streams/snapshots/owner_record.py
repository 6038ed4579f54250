"""How a worker becomes the owner of a task's files, also when others try meanwhile or wake in the middle of it.

    <epoch>.claim    it means to      ── then it reads which owner began last, and where that one's files end
    <epoch>.owner    it has begun: who came before it, and the first offset that is its own
                     ── then, with no newer claim or owner beside it, it may write and remove files

Of two, either the older one sees the newer claim behind its own record and does nothing, or its record was there when
the newer one looked. So nobody builds on what somebody else drops, wherever either of them is paused.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from headrace.logging import get_logger
from streams.ownership.tenures import FencedError, Tenures
from streams.snapshots.snapshot_store import SnapshotStore

__all__ = ["is_record", "read_tenures", "record_epoch", "take_office"]

_CLAIM, _OWNER = "claim", "owner"
_NAME = re.compile(rf"(\d{{20}})\.({_CLAIM}|{_OWNER})")
_LOG = get_logger(__name__)

T = TypeVar("T")


class _Record(msgspec.Struct, frozen=True):
    owners: list[tuple[int, int]]
    """Epoch and first offset of each, oldest first."""


def read_tenures(store: SnapshotStore) -> Tenures:
    """The owners as the newest one knows them."""
    return _newest_before(store, 2**63)


def take_office(store: SnapshotStore, epoch: int, find: Callable[[Tenures], tuple[T, int]]) -> tuple[T, Tenures]:
    """Become the owner of a task's files.

    Args:
        store: where its snapshots lie.
        epoch: of the ownership.
        find: gives what the owners before have left, and the first offset behind it.

    Returns:
        What was found, and every owner with the new one.

    Raises:
        FencedError: there is a newer one; nothing may be written or removed.
    """
    store.write(_name(epoch, _CLAIM), [])
    before = _newest_before(store, epoch)
    found, first = find(before)
    tenures = before.followed_by(epoch, first)
    store.write(_name(epoch, _OWNER), [memoryview(msgspec.json.encode(_Record(list(tenures.every))))])
    known = _known(store)
    if (newest := max(known)[0]) > epoch:
        raise FencedError(f"{store.place(_name(epoch, _OWNER))} is older than what owner {newest} has written")
    for old, kind in known:
        # The one before stays, should this record be damaged.
        if old < before.epoch or (old <= epoch and kind == _CLAIM):
            store.remove(_name(old, kind))
    return found, tenures


def is_record(name: str) -> bool:
    """Whether a name is of what is written here, and no snapshot's."""
    return _NAME.fullmatch(name) is not None


def record_epoch(name: str) -> int:
    """Whose record a name is; beyond every epoch when it is none."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else 2**63


def _newest_before(store: SnapshotStore, epoch: int) -> Tenures:
    """Of the newest record of an owner before this one that can be read."""
    for known, kind in sorted(_known(store), reverse=True):
        if known >= epoch or kind != _OWNER:
            continue
        name = _name(known, kind)
        try:
            return Tenures.of(msgspec.json.decode(bytes(store.read(name)), type=_Record).owners)
        except FileNotFoundError:
            continue  # a newer owner has tidied
        except msgspec.MsgspecError as error:
            _LOG.warning("record of an owner not used", path=store.place(name), why=str(error))
    return Tenures()


def _known(store: SnapshotStore) -> list[tuple[int, str]]:
    return [(int(match[1]), match[2]) for name in store.names() if (match := _NAME.fullmatch(name))]


def _name(epoch: int, kind: str) -> str:
    return f"{epoch:020d}.{kind}"
