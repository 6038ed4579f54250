"""Rows online as they were last stored: for reads that ask for no instant and bring no event.

Same answers as :mod:`feature_store.online_decoder` gives such reads, without a kernel and without a row's events: what
a lookup over HTTP asks for, one key at a time, where setting out for a kernel costs more than reading twelve numbers.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from feature_store.online_layout import HEADER_WORDS, ROW_FORMAT, entity_key_parts, row_field
from feature_store.plan import ViewPlan
from feature_store.row_values import Value
from headrace.errors import IntegrityError

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
        self._rows = [[_RowReader(plan).read for plan in each] for each in by_entity.values()]
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


class _RowReader:
    """Header and values of one view's rows; what follows them is not looked at."""

    def __init__(self, plan: ViewPlan) -> None:
        self._view = plan.view.name
        # format, flags, cells; definition, version, valid_from, valid_until, watermark; the cells
        self._layout = struct.Struct(f"<BBHIqqqqq{plan.width}d")
        self._cells, self._definition = plan.width, int(plan.version, 16)
        self._whole = [cell for cell in range(plan.width) if plan.is_int[cell]]
        slots = [(entry.slot, entry.slot + entry.feature.width, entry.feature.is_list) for entry in plan.features]
        self._slots = slots if plan.width != len(plan.features) or any(many for _, _, many in slots) else None
        self._nothing: StoredValues = (None, [None] * len(plan.features))

    def read(self, data: bytes | None) -> StoredValues:
        """One row."""
        if not data:
            return self._nothing
        try:
            layout, _, cells, _, definition, _, valid_from, _, _, *values = self._layout.unpack_from(data)
        except struct.error:
            return self._short(data)
        if layout != ROW_FORMAT or len(data) & 7:
            raise self._damage()
        if definition != self._definition:
            return self._nothing
        if cells != self._cells:
            raise self._damage()
        for cell in self._whole:
            value = values[cell]
            if value == value:  # NaN is null
                values[cell] = int(value)
        return valid_from, values if self._slots is None else self._listed(values)

    def _short(self, data: bytes) -> StoredValues:
        """A row of a narrower definition, or what is left of one of ours."""
        is_row = len(data) >= 8 * HEADER_WORDS and not len(data) & 7 and data[0] == ROW_FORMAT
        if not is_row or int.from_bytes(data[8:16], "little", signed=True) == self._definition:
            raise self._damage()
        return self._nothing

    def _listed(self, cells: list[Any]) -> list[Value]:
        assert self._slots is not None
        return [
            [item for item in cells[low:high] if item == item] if many else cells[low]  # NaN is no item
            for low, high, many in self._slots
        ]

    def _damage(self) -> IntegrityError:
        return IntegrityError(
            f"a row of view {self._view!r} online is cut off or not of format {ROW_FORMAT}",
            hint="upgrade this process, or find out what else writes this view",
        )
