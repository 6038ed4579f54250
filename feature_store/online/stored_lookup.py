"""Rows online as they were last stored: for reads that ask for no instant and bring no event.

Same answers as :mod:`feature_store.online.online_decoder` gives such reads: what a lookup over HTTP asks for, one key
at a time.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feature_store.online.online_layout import entity_key_parts, row_field
from feature_store.online.stored_row import StoredRowReader
from feature_store.plan import ViewPlan
from feature_store.row_values import Value

__all__ = ["StoredLookup", "StoredValues"]

StoredValues = tuple[int | None, Sequence[Value]]
"""``valid_from`` of the row, None where there is none; and a value for each feature of the view. NaN is null too."""


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
        self._keys = [(entity, _key_writer(entity, each, project)) for entity, each in by_entity.items()]
        self._rows = [[_values_reader(plan) for plan in each] for each in by_entity.values()]
        self.views = tuple(plan.view.name for each in by_entity.values() for plan in each)
        """Names of the views, in the order of the answers."""

    def commands(self, keys: Mapping[str, Sequence[int | str]]) -> list[bytes]:
        """One command for each entity and key; ``keys`` are checked, and as many of each entity."""
        return [write(key) for entity, write in self._keys for key in keys[entity]]

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


def _key_writer(entity: str, plans: Sequence[ViewPlan], project: str) -> Any:
    """Key of an entity -> HMGET of our field of each view; of numbers only eight bytes change."""
    head, tail = entity_key_parts(entity, text=plans[0].has_text_keys, project=project)
    fields = [row_field(plan.view.name) for plan in plans]
    opening = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(plans))
    after = b"%b\r\n%b" % (tail, b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in fields))
    fixed = len(head) + 4 + len(tail)

    def text(key: str) -> bytes:
        value = key.encode()
        return b"%b%d\r\n%b%b%b%b" % (opening, fixed + len(value), head, struct.pack("<I", len(value)), value, after)

    before = b"%b%d\r\n%b%b" % (opening, fixed + 8, head, struct.pack("<I", 8))

    def number(key: int) -> bytes:
        return before + key.to_bytes(8, "little", signed=True) + after

    return text if plans[0].has_text_keys else number


def _values_reader(plan: ViewPlan) -> Callable[[bytes | None], StoredValues]:
    read, nothing = StoredRowReader(plan).read, (None, [None] * len(plan.features))

    def values(data: bytes | None) -> StoredValues:
        row = read(data)
        return nothing if row is None else (row.valid_from_us, row.values)

    return values
