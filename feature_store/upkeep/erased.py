"""The register of erased subjects: what must not come back, without saying who it was.

Kafka keeps messages for as long as it is told to. A replay of a topic would bring an erased subject back, so the stream
asks this register about every row. It holds no key and no event id, only keyed digests (BLAKE2b under a random salt of
this home). Whoever holds the file can check a guess, and so try out all keys of a small range: it is its owner's alone.

A digest of each of a million rows a second would cost a core. Whole numbers are therefore first looked up in a small
table by 24 bits of a mixed value, which nearly all rows fail (25 ns a row, key and event id together); a register
without entries costs nothing.

Several workers note events in one register. Whoever saves takes in what the others have saved, and the file has both.
"""

import contextlib
import fcntl
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.config import Settings
from headrace.contracts.codec import decode, encode
from headrace.durable_files import write_file
from headrace.errors import IntegrityError

__all__ = ["ErasedSubjects", "register_path"]

Mask = NDArray[np.bool_]
Values = NDArray[np.generic]

_BITS = 24
"""Of a hundred thousand erased events one in 170 others passes the table; it takes 16 MB for each kind of value."""
_SALT_BYTES = 32
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """The file."""

    format: int
    salt: str
    digests: dict[str, list[str]]
    """``key:<entity>`` or ``event:<stream>`` -> digests."""
    buckets: dict[str, list[int]]


@dataclass(slots=True)
class _Group:
    """Digests of one kind of value, and the table that nearly all others fail."""

    digests: set[str] = field(default_factory=set)
    table: Mask = field(default_factory=lambda: np.zeros(1 << _BITS, dtype=np.bool_))


def register_path(settings: Settings, project: str) -> Path:
    """File of a project's register."""
    return settings.home / "data" / "erased" / f"{project}.json"


class ErasedSubjects:
    """Keys and event ids of erased subjects.

    Args:
        path: the register's file; absent: nobody was erased.

    Raises:
        IntegrityError: the file is not what this program wrote.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._groups: dict[str, _Group] = {}
        self._changed = False
        self._seen: tuple[int, int] | None = None
        """Time and inode of the file as it was last read or written."""
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._mix = _mix_of(self._salt)
        self.refresh()

    @property
    def entities(self) -> list[str]:
        """Entities of which subjects were erased."""
        return [name.removeprefix("key:") for name in self._groups if name.startswith("key:")]

    def add_keys(self, entity: str, keys: Sequence[int | str]) -> int:
        """Note subjects; gives how many are new."""
        return self._add(f"key:{entity}", _array(keys))

    def add_events(self, stream: str, ids: NDArray[np.int64]) -> int:
        """Note events by :func:`feature_store.ids.event_ids64`; gives how many are new."""
        return self._add(f"event:{stream}", ids)

    def has_keys(self, entity: str, keys: Values) -> Mask:
        """Which of these keys belong to erased subjects."""
        return self._has(f"key:{entity}", keys)

    def has_events(self, stream: str, ids: NDArray[np.int64]) -> Mask:
        """Which of these events were an erased subject's."""
        return self._has(f"event:{stream}", ids)

    def refresh(self) -> None:
        """Take in what others have saved since; one look at the file when they have not.

        Raises:
            IntegrityError: the file is not what this program wrote, or is another register than before.
        """
        if (stamp := _stamp(self._path)) == self._seen:
            return
        self._seen = stamp
        if stamp is None:
            return
        stored = decode(self._path.read_bytes(), _Stored)
        salt = bytes.fromhex(stored.salt)
        if self._groups and salt != self._salt:
            raise IntegrityError(
                f"{self._path} is another register than when this process began", hint="start the process again"
            )
        self._salt, self._mix = salt, _mix_of(salt)
        for name, digests in stored.digests.items():
            group = self._groups.setdefault(name, _Group())
            group.digests.update(digests)
            group.table[stored.buckets[name]] = True

    def save(self) -> None:
        """Write the register when something was added, with what others have saved; it is on the disk on return.

        Raises:
            HeadraceError: it cannot be written.
        """
        if not self._changed:
            return
        with _alone(self._path):
            self.refresh()
            stored = _Stored(
                format=1,
                salt=self._salt.hex(),
                digests={name: sorted(group.digests) for name, group in self._groups.items()},
                buckets={name: np.flatnonzero(group.table).tolist() for name, group in self._groups.items()},
            )
            write_file(self._path, encode(stored))
            self._path.chmod(0o600)
            self._seen = _stamp(self._path)
        self._changed = False

    def _add(self, name: str, values: Values) -> int:
        group = self._groups.setdefault(name, _Group())
        before = len(group.digests)
        group.digests.update(self._digests(name, values))
        if _is_whole(values):
            group.table[self._places(values)] = True
        added = len(group.digests) - before
        self._changed = self._changed or added > 0
        return added

    def _has(self, name: str, values: Values) -> Mask:
        found = np.zeros(len(values), dtype=np.bool_)
        group = self._groups.get(name)
        if group is None or not len(values):
            return found
        rows = np.flatnonzero(group.table[self._places(values)]) if _is_whole(values) else np.arange(len(values))
        known: dict[object, bool] = {}
        for row, value in zip(rows.tolist(), values[rows].tolist(), strict=True):
            if value not in known:
                known[value] = self._digest(name, value) in group.digests
            found[row] = known[value]
        return found

    def _places(self, values: Values) -> NDArray[np.uint64]:
        mixed = values.astype(np.int64, copy=False).view(np.uint64) ^ self._mix
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        places: NDArray[np.uint64] = mixed >> np.uint64(64 - _BITS)
        return places

    def _digests(self, name: str, values: Values) -> Iterable[str]:
        return (self._digest(name, value) for value in values.tolist())

    def _digest(self, name: str, value: object) -> str:
        data = value.encode() if isinstance(value, str) else int(value).to_bytes(8, "little", signed=True)  # type: ignore[call-overload]  # a key is a text or a whole number
        return hashlib.blake2b(name.encode() + b"\0" + data, digest_size=_DIGEST_BYTES, key=self._salt).hexdigest()


def _mix_of(salt: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(salt[:8], "little"))


def _stamp(path: Path) -> tuple[int, int] | None:
    """Changes with the file; None when there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_ino


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One writer at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_whole(values: Values) -> bool:
    return values.dtype.kind in "iu"


def _array(keys: Sequence[int | str]) -> Values:
    if all(isinstance(key, int) for key in keys):
        return np.array(keys, dtype=np.int64)
    texts = np.empty(len(keys), dtype=object)
    texts[:] = list(keys)
    return texts
