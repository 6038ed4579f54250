"""Rows online as they were last stored: for reads that ask for no instant and bring no event.

Same answers as :mod:`feature_store.online.online_decoder` gives such reads: what a lookup over HTTP asks for, one key
at a time.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64
from feature_store.online.key_lines import KeyLines
from feature_store.online.online_layout import entity_key_parts, row_field
from feature_store.online.stored_kernels import read_views
from feature_store.online.stored_row import StoredRowReader
from feature_store.plan import ViewPlan
from feature_store.row_values import Value

__all__ = ["StoredColumns", "StoredLookup", "StoredValues"]

StoredValues = tuple[int | None, Sequence[Value]]
"""``valid_from`` of the row, None where there is none; and a value for each feature of the view. NaN is null too."""


class StoredColumns(NamedTuple):
    """Answers to n questions about one key of each entity."""

    valid_from_us: I64
    """(n, V) of each view's row; plan.NULL where there is none."""
    cells: NDArray[np.float64]
    """(n, W) cells of all views, one view behind another; NaN is null."""


class StoredLookup:
    """Reads some views of one project.

    Args:
        plans: views, by any entities.
        project: name of the project.
    """

    def __init__(self, plans: Sequence[ViewPlan], project: str) -> None:
        by_entity: dict[str, list[ViewPlan]] = {}
        for plan in plans:
            by_entity.setdefault(plan.view.entity, []).append(plan)
        self._keys = [(entity, _KeyCommand(entity, each, project)) for entity, each in by_entity.items()]
        self._rows = [[_values_reader(plan) for plan in each] for each in by_entity.values()]
        self.views = tuple(plan.view.name for each in by_entity.values() for plan in each)
        """Names of the views, in the order of the answers."""
        self.entities = tuple(by_entity)
        """Names of their entities, in the order of the commands."""
        self.has_text_keys = any(plan.has_text_keys for plan in plans)
        self._layout = _layout(list(by_entity.values()))
        self._width = int(self._layout[:, 1].sum())

    def commands(self, keys: Mapping[str, Sequence[int | str]]) -> list[bytes]:
        """One command for each entity and key; ``keys`` are checked, and as many of each entity."""
        return [command.of(key) for entity, command in self._keys for key in keys[entity]]

    def commands_of(self, keys: I64, columns: Sequence[int]) -> bytes:
        """The same at once, of numbers only.

        Args:
            keys: (n, m) in C order.
            columns: which of them belong to each of ``entities``.
        """
        asked = zip(self._keys, columns, strict=True)
        return b"".join([command.lines.of(keys, column) for (_, command), column in asked])

    def read_columns(self, replies: Sequence[Sequence[bytes | None]]) -> StoredColumns | None:
        """As ``read``, without an object for each value; None where ``read`` must look at each row by itself."""
        rows = [data or b"" for reply in replies for data in reply]
        ends = np.fromiter(accumulate(map(len, rows)), np.int64, len(rows))
        size = len(replies) // len(self._rows)
        valid_from_us = np.empty((size, len(self.views)), np.int64)
        cells = np.empty((size, self._width))
        cells.fill(np.nan)
        data = np.frombuffer(b"".join(rows), np.uint8)
        is_usual = read_views(data, ends, self._layout, valid_from_us, cells.view(np.int64))
        return StoredColumns(valid_from_us, cells) if is_usual else None

    def read(self, replies: Sequence[Sequence[bytes | None]]) -> list[list[StoredValues]]:
        """By view as in ``views``, then by row, from the replies to those commands.

        Raises:
            IntegrityError: a row is cut off or of another format.
        """
        size = len(replies) // len(self._rows)
        found = []
        for number, readers in enumerate(self._rows):
            own = replies[number * size : (number + 1) * size]
            found += [[read(reply[place]) for reply in own] for place, read in enumerate(readers)]
        return found

    def read_one(self, replies: Sequence[Sequence[bytes | None]]) -> list[StoredValues]:
        """As ``read``, of a single row."""
        return [
            read(data)
            for readers, reply in zip(self._rows, replies, strict=True)
            for read, data in zip(readers, reply, strict=True)
        ]


class _KeyCommand:
    """Key of an entity -> HMGET of our field of each view; of numbers only eight bytes change."""

    def __init__(self, entity: str, plans: Sequence[ViewPlan], project: str) -> None:
        head, tail = entity_key_parts(entity, text=plans[0].has_text_keys, project=project)
        fields = [row_field(plan.view.name) for plan in plans]
        opening = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(plans))
        after = b"%b\r\n%b" % (tail, b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in fields))
        fixed = len(head) + 4 + len(tail)
        before = b"%b%d\r\n%b%b" % (opening, fixed + 8, head, struct.pack("<I", 8))

        def text(key: str) -> bytes:
            value = key.encode()
            size = struct.pack("<I", len(value))
            return b"%b%d\r\n%b%b%b%b" % (opening, fixed + len(value), head, size, value, after)

        def number(key: int) -> bytes:
            return before + key.to_bytes(8, "little", signed=True) + after

        self.of: Callable[..., bytes] = text if plans[0].has_text_keys else number
        self.lines = KeyLines(before, after)


def _layout(by_entity: Sequence[Sequence[ViewPlan]]) -> I64:
    """What :func:`read_views` must know of each view."""
    layout, cells, before = [], 0, 0
    for plans in by_entity:
        for place, plan in enumerate(plans):
            layout.append((int(plan.version, 16), plan.width, cells, before, len(plans), place))
            cells += plan.width
        before += len(plans)
    return np.array(layout, np.int64).reshape(-1, 6)


def _values_reader(plan: ViewPlan) -> Callable[[bytes | None], StoredValues]:
    read, nothing = StoredRowReader(plan).read, (None, [None] * len(plan.features))

    def values(data: bytes | None) -> StoredValues:
        row = read(data)
        return nothing if row is None else (row.valid_from_us, row.values)

    return values
