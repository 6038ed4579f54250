"""A snapshot as bytes: arrays and a small header, whole or refused.

    magic | u64 size of header | header (JSON) | arrays, each from a multiple of 8 on | BLAKE2b of all before

It holds a whole state, or what changed since another one: the one whose digest its header names. Format 1 had no such
link and no gaps between arrays; it is still read.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import IntegrityError

__all__ = ["Piece", "Snapshot", "decode", "encode"]

FORMAT = 2
_OLD = 1
_MAGIC = b"headrace snapshot\n"
_SIZE = struct.Struct("<Q")
_DIGEST_BYTES = 32
_ALIGNED = 8
_STATE = "state/"
"""Prefix of the state's arrays in a file."""

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A state at an offset of its keyed log, or what changed of it."""

    offset: int
    """Newest message it reflects."""
    definition: str
    """Version of the view it is a state of."""
    facts: dict[str, int]
    """Named numbers beside the arrays."""
    state: Arrays
    """As feature_store makes them: view_snapshot when it is whole, else view_changes."""
    marks: Arrays
    """Of the sources; always whole."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A snapshot as it was read."""

    snapshot: Snapshot
    digest: str
    """Names these bytes and no others."""
    parent: str
    """Name of the piece it changes; empty for a whole state."""
    parent_digest: str
    """Digest of that one."""


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
    parent: str = ""
    parent_digest: str = ""


def encode(snapshot: Snapshot, *, parent: str = "", parent_digest: str = "") -> tuple[list[memoryview], str]:
    """The bytes in parts, without a copy of the arrays, and their digest.

    Args:
        snapshot: a whole state, or changes.
        parent: name of the piece the changes follow; empty for a whole state.
        parent_digest: digest of that piece.
    """
    named = {f"{_STATE}{name}": array for name, array in snapshot.state.items()} | dict(snapshot.marks)
    plain = {name: np.ascontiguousarray(array) for name, array in named.items()}
    header = msgspec.json.encode(
        _Header(
            format=FORMAT,
            offset=snapshot.offset,
            definition=snapshot.definition,
            facts=snapshot.facts,
            arrays=tuple(_Array(name, array.dtype.str, array.shape) for name, array in plain.items()),
            parent=parent,
            parent_digest=parent_digest,
        )
    )
    header += b" " * _gap(len(_MAGIC) + _SIZE.size + len(header))
    parts = [memoryview(part) for part in (_MAGIC, _SIZE.pack(len(header)), header)]
    for array in plain.values():
        parts.append(array.reshape(-1).view(np.uint8).data)
        parts.append(memoryview(bytes(_gap(array.nbytes))))
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return [*parts, memoryview(digest.digest())], digest.hexdigest()


def decode(data: bytearray | memoryview, name: str) -> Piece:
    """The piece again; its arrays lie in ``data``.

    Args:
        data: all bytes.
        name: for messages.

    Raises:
        IntegrityError: it was damaged or is of another format.
    """
    body, stored = memoryview(data)[:-_DIGEST_BYTES], memoryview(data)[-_DIGEST_BYTES:]
    digest = hashlib.blake2b(body, digest_size=_DIGEST_BYTES)
    if bytes(body[: len(_MAGIC)]) != _MAGIC or digest.digest() != bytes(stored):
        raise IntegrityError(f"{name} is damaged: its checksum does not match")
    at = len(_MAGIC) + _SIZE.size
    size = _SIZE.unpack_from(body, len(_MAGIC))[0]
    try:
        header = msgspec.json.decode(body[at : at + size], type=_Header)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"{name} is of another format: {error}") from error
    if header.format not in (_OLD, FORMAT):
        raise IntegrityError(f"{name} has format {header.format}; this version reads {_OLD} and {FORMAT}")
    arrays = dict(_arrays(body, at + size, header))
    snapshot = Snapshot(
        offset=header.offset,
        definition=header.definition,
        facts=header.facts,
        state={key.removeprefix(_STATE): array for key, array in arrays.items() if key.startswith(_STATE)},
        marks={key: array for key, array in arrays.items() if not key.startswith(_STATE)},
    )
    return Piece(snapshot=snapshot, digest=digest.hexdigest(), parent=header.parent, parent_digest=header.parent_digest)


def _arrays(body: memoryview, at: int, header: _Header) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for entry in header.arrays:
        count = int(np.prod(entry.shape, dtype=np.int64))
        kind: np.dtype[np.generic] = np.dtype(entry.dtype)
        array = np.frombuffer(body, kind, count, at).reshape(entry.shape)
        # Kernels want whole words at their own addresses, which format 1 does not promise.
        yield entry.name, array.copy() if header.format == _OLD else array
        nbytes = count * kind.itemsize
        at += nbytes + (0 if header.format == _OLD else _gap(nbytes))


def _gap(size: int) -> int:
    """Bytes from ``size`` to the next multiple of 8."""
    return -size % _ALIGNED
