"""Lookups of many entities at once, keys in and values out as columns; pure.

    keys (n,) of each entity ──► one block of commands ──► replies, as they come ──► ViewColumns by view name

Nothing is made for a single entity, which is why a hundred cost little more than one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from feature_store.kernel_cache import plain
from feature_store.kernels import I64
from feature_store.online.key_lines import KeyLines
from feature_store.online.lookup_wire import LookupWire, Opening, state_is_lost
from feature_store.online.reply_kernels import MALFORMED, gather, read_replies
from feature_store.online.view_rows import ViewColumns
from headrace.errors import IntegrityError, RejectedError
from headrace.spec.features import FeatureView

__all__ = ["ColumnsAsked", "ReplyReader"]

_FIRST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """Commands about one entity."""

    opening: Opening
    command: bytes


class ColumnsAsked:
    """One lookup of n entities, or combinations of them.

    Args:
        wire: of the project.
        views: whose features are asked for.
        entities: entity name -> (n,) keys; more than the views need is allowed.
        at_us: instant, or (n,) instants, to evaluate at; None: values as stored.

    Raises:
        RejectedError: a view is unknown; keys are missing, of the wrong type or not equally many.
    """

    def __init__(
        self,
        wire: LookupWire,
        views: Sequence[FeatureView],
        entities: Mapping[str, ArrayLike],
        at_us: int | ArrayLike | None,
    ) -> None:
        self._wire = wire
        openings = wire.openings(views, moved=at_us is not None)
        keys = {entity: _keys(entity, entities.get(entity), text=wire.has_text_keys(entity)) for entity in openings}
        lengths = {entity: len(column) for entity, column in keys.items()}
        if len(set(lengths.values())) > 1:
            raise RejectedError(f"the lookup has keys {lengths}", hint="give each entity as many keys")
        self.size = next(iter(lengths.values()), 0)
        """n."""
        self._at_us = None if at_us is None else np.broadcast_to(np.asarray(at_us, np.int64), (self.size,)).copy()
        self._parts = [
            _Part(opening=opening, command=self._command(entity, opening, keys[entity]))
            for entity, opening in openings.items()
        ]

    @property
    def commands(self) -> bytes:
        """What to send."""
        return b"".join(part.command for part in self._parts)

    @property
    def replies(self) -> int:
        """How many there will be."""
        return self.size * len(self._parts)

    def readers(self) -> "list[ReplyReader]":
        """What takes the replies, one after another."""
        fields = 1 if self._at_us is None else 2
        return [ReplyReader(self.size, fields * len(part.opening.views)) for part in self._parts]

    def answer(self, replies: Sequence[tuple[NDArray[np.uint8], I64]]) -> dict[str, ViewColumns]:
        """By view name.

        Args:
            replies: bytes and spans of each reader.

        Raises:
            IntegrityError: a row is cut off or of another format.
        """
        found = {}
        for part, (data, spans) in zip(self._parts, replies, strict=True):
            for place, view in enumerate(part.opening.views):
                decoder = self._wire.decoders[view]
                if self._at_us is None:
                    found[view] = decoder.stored_columns(data, spans, place)
                    continue
                if (_is_absent(spans[:, 2 * place + 1]) & ~_is_absent(spans[:, 2 * place])).any():
                    raise state_is_lost(view)
                ends = np.empty(self.size, np.int64)
                rows = gather(data, spans, 2 * place, 2, ends)
                rows.flags.writeable = False  # as bytes are: one kernel serves both
                found[view] = decoder.columns(rows, ends, self._at_us)
        return found

    def _command(self, entity: str, opening: Opening, keys: NDArray[np.generic]) -> bytes:
        if self._wire.has_text_keys(entity):
            names = [self._wire.key(entity, key) for key in keys.tolist()]
            return b"".join(b"%b%d\r\n%b\r\n%b" % (opening.before, len(name), name, opening.after) for name in names)
        # All alike but for the eight bytes of the key.
        mark = b"\x01\x02\x03\x04\x05\x06\x07\x08"
        name = self._wire.key(entity, int.from_bytes(mark, "little"))
        before = b"%b%d\r\n%b" % (opening.before, len(name), name[: name.index(mark)])
        after = b"%b\r\n%b" % (name[name.index(mark) + 8 :], opening.after)
        return KeyLines(before, after).of(plain(keys).reshape(-1, 1))


class ReplyReader:
    """Takes the replies to n commands out of the bytes of a connection.

    Args:
        commands: n.
        width: values of each reply.
    """

    def __init__(self, commands: int, width: int) -> None:
        self.spans = np.zeros((commands, width, 2), np.int64)
        """(n, width, 2) where each value begins and ends in :attr:`data`."""
        self.data = np.empty(0, np.uint8)
        self._size = self._at = self._done = 0

    @property
    def room(self) -> memoryview:
        """Where the next bytes go."""
        if 2 * self._size > len(self.data):
            self.data = np.concatenate([self.data, np.empty(len(self.data), np.uint8)])
        return self.data.data[self._size :]

    def begin(self, data: bytes) -> bool:
        """Take these bytes first; whether they are all."""
        self.data = np.concatenate([np.frombuffer(data, np.uint8), np.empty(_FIRST_BYTES, np.uint8)])
        return self.took(len(data))

    def took(self, size: int) -> bool:
        """So many bytes have come; whether these are all.

        Raises:
            IntegrityError: it is not what was asked for; an error of the server, say.
        """
        self._size += size
        self._at, self._done = read_replies(self.data, self._size, self._at, self._done, self.spans)
        if self._at == MALFORMED:
            raise IntegrityError("the server's reply is no row", hint="ask one by one; it then says why")
        return self._done == len(self.spans)

    def rest(self) -> bytes:
        """Bytes behind the last reply; they belong to the next reader."""
        return self.data[self._at : self._size].tobytes()


def _is_absent(spans: I64) -> NDArray[np.bool_]:
    """(n,) where a value is not there; an empty one begins somewhere."""
    absent: NDArray[np.bool_] = spans[:, 1] == 0
    return absent


def _keys(entity: str, keys: ArrayLike | None, *, text: bool) -> NDArray[np.generic]:
    if keys is None:
        raise RejectedError(f"entity {entity!r} is missing in the lookup", hint="give its keys in entities")
    column = np.asarray(keys, object) if text else np.asarray(keys)
    if column.ndim != 1 or (not text and column.size and column.dtype.kind not in "iu"):
        raise RejectedError(
            f"entity {entity!r} has keys of {column.ndim} dimensions and type {column.dtype}",
            hint=f"give a list of {'texts' if text else 'integers of 64 bits'}",
        )
    return column if text else column.astype(np.int64)
