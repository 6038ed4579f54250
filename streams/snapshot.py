"""State snapshots: arrays and a small header in one file that is whole or refused.

    magic | u64 size of header | header (JSON) | arrays, one after another | BLAKE2b of all before

Files are named by the keyed offset they reflect. The newest two are kept, so that one that was damaged costs a
longer replay and nothing else.
"""

import contextlib
import errno
import hashlib
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import HeadraceError, IntegrityError
from headrace.logging import get_logger

__all__ = ["Snapshot", "offsets_kept", "read_newest", "read_snapshot", "write_snapshot"]

FORMAT = 1
_MAGIC = b"headrace snapshot\n"
_SIZE = struct.Struct("<Q")
_DIGEST_BYTES = 32
_KEPT = 2
_NAME = re.compile(r"(\d{20})\.snapshot")
_LOG = get_logger(__name__)

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A state at an offset of its keyed log."""

    offset: int
    """Newest message it reflects."""
    definition: str
    """Version of the view it is a state of."""
    facts: dict[str, int]
    """Named numbers beside the arrays."""
    arrays: Arrays


class _Array(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class _Header(msgspec.Struct, frozen=True):
    format: int
    offset: int
    definition: str
    facts: dict[str, int]
    arrays: tuple[_Array, ...]


def write_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot so that it survives a crash of the machine once this returns; older ones go.

    Raises:
        HeadraceError: the disk is full or the folder cannot be written; earlier snapshots stay.
    """
    target = folder / f"{snapshot.offset:020d}.snapshot"
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    plain = {name: np.ascontiguousarray(array) for name, array in snapshot.arrays.items()}
    header = msgspec.json.encode(
        _Header(
            format=FORMAT,
            offset=snapshot.offset,
            definition=snapshot.definition,
            facts=snapshot.facts,
            arrays=tuple(_Array(name, array.dtype.str, array.shape) for name, array in plain.items()),
        )
    )
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            for part in (_MAGIC, _SIZE.pack(len(header)), header, *(array.tobytes() for array in plain.values())):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        _sync(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HeadraceError(
            f"the disk of {folder} is full" if full else f"snapshot {target} cannot be written: {error}",
            hint="free space and start again: everything since the last snapshot is replayed",
        ) from error
    for offset in offsets_kept(folder)[:-_KEPT]:
        (folder / f"{offset:020d}.snapshot").unlink(missing_ok=True)
    return target


def read_newest(folder: Path, definition: str) -> Snapshot | None:
    """The newest whole snapshot of this definition; damaged ones are passed over with a warning."""
    for offset in reversed(offsets_kept(folder)):
        path = folder / f"{offset:020d}.snapshot"
        try:
            snapshot = read_snapshot(path)
        except IntegrityError as error:
            _LOG.warning("snapshot not used", path=path, why=error.args[0])
            continue
        if snapshot.definition == definition:
            return snapshot
        _LOG.warning("snapshot not used", path=path, why="the view is defined otherwise now")
    return None


def read_snapshot(path: Path) -> Snapshot:
    """Read one file.

    Raises:
        IntegrityError: it was damaged or is of another format.
    """
    data = path.read_bytes()
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not body.startswith(_MAGIC) or hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise IntegrityError(f"{path} is damaged: its checksum does not match")
    at = len(_MAGIC) + _SIZE.size
    size = _SIZE.unpack_from(body, len(_MAGIC))[0]
    try:
        header = msgspec.json.decode(body[at : at + size], type=_Header)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"{path} is of another format: {error}") from error
    if header.format != FORMAT:
        raise IntegrityError(f"{path} has format {header.format}; this version reads {FORMAT}")
    at += size
    arrays: dict[str, NDArray[np.generic]] = {}
    for entry in header.arrays:
        count = int(np.prod(entry.shape, dtype=np.int64))
        kind: np.dtype[np.generic] = np.dtype(entry.dtype)
        # A copy, because the state goes on in these arrays.
        arrays[entry.name] = np.frombuffer(body, kind, count, at).reshape(entry.shape).copy()
        at += count * kind.itemsize
    return Snapshot(offset=header.offset, definition=header.definition, facts=header.facts, arrays=arrays)


def offsets_kept(folder: Path) -> list[int]:
    """Offsets of the snapshots in a folder, oldest first; a restart goes back to one of them."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
