"""One online row as it was last stored: header and values, without a kernel.

For reads that ask for no instant and bring no event, where setting out for a kernel costs more than reading twelve
numbers.
"""

import struct
from typing import Any, NamedTuple

from feature_store.online.online_layout import HEADER_WORDS, ROW_FORMAT
from feature_store.plan import ViewPlan
from feature_store.row_values import Value
from headrace.errors import IntegrityError

__all__ = ["StoredRowReader", "StoredWords"]


class StoredWords(NamedTuple):
    """Content of ``_hr:<view>``."""

    version: int
    valid_from_us: int
    valid_until_us: int
    watermark_us: int
    values: list[Value]
    """One for each feature; NaN is null too."""


class StoredRowReader:
    """Rows of one view; what follows the values is not looked at."""

    def __init__(self, plan: ViewPlan) -> None:
        self._view = plan.view.name
        # format, flags, cells; definition, version, valid_from, valid_until, watermark; the cells
        self._layout = struct.Struct(f"<BBHIqqqqq{plan.width}d")
        self._cells, self._definition = plan.width, int(plan.version, 16)
        self._whole = [cell for cell in range(plan.width) if plan.is_int[cell]]
        slots = [(entry.slot, entry.slot + entry.feature.width, entry.feature.is_list) for entry in plan.features]
        self._slots = slots if any(many for _, _, many in slots) else None

    def read(self, data: bytes | None) -> StoredWords | None:
        """One row; None where there is none, or one of another definition.

        Raises:
            IntegrityError: it is cut off or of another format.
        """
        if not data:
            return None
        try:
            layout, _, cells, _, definition, *words = self._layout.unpack_from(data)
        except struct.error:
            self._check_foreign(data)
            return None
        if layout != ROW_FORMAT or len(data) & 7:
            raise self._damage()
        if definition != self._definition:
            return None
        if cells != self._cells:
            raise self._damage()
        values = words[4:]
        for cell in self._whole:
            value = values[cell]
            if value == value:  # NaN is null
                values[cell] = int(value)
        version, valid_from_us, valid_until_us, watermark_us = words[:4]
        listed = values if self._slots is None else self._listed(values)
        return StoredWords(version, valid_from_us, valid_until_us, watermark_us, listed)

    def _check_foreign(self, data: bytes) -> None:
        """A row of a narrower definition, or what is left of one of ours?"""
        is_row = len(data) >= 8 * HEADER_WORDS and not len(data) & 7 and data[0] == ROW_FORMAT
        if not is_row or int.from_bytes(data[8:16], "little", signed=True) == self._definition:
            raise self._damage()

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
