"""What a value may be, whatever format it came in: columns first, words for the few that fail."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.spec.types import FieldType, Float64, Int64, String
from streams.formats.message_check import NULL_INT, Refused, bad_label, check_time_bounds

__all__ = ["ColumnCheck", "Columns"]

I64 = NDArray[np.int64]
Columns = Mapping[str, NDArray[Any]]
_MAX_STEPS = 2.0**53
_UNCLAMPED_US = 2**62 - 1_000_000
"""Seconds and milliseconds further away than this become about 2**62 µs, so that any of them fits a column."""


class ColumnCheck:
    """Checks columns as :func:`streams.formats.message_check.check_message` checks the fields of a JSON message.

    Args:
        schema: fields without the time.
        time: name of the time field; None when there is none.
        earliest_us: times before this are refused.
        future_us: times further than this ahead of the arrival are refused.
        values: integer field -> the only values it may have.
    """

    def __init__(
        self,
        schema: Mapping[str, FieldType],
        time: str | None,
        earliest_us: int,
        future_us: int,
        values: Mapping[str, frozenset[int]] | None = None,
    ) -> None:
        self._schema = schema
        self._allowed = dict(values or {})
        self._time = time
        self._earliest_us = earliest_us
        self._future_us = future_us

    def refuse(
        self, columns: Columns, nulls: Columns, sizes: Columns, arrivals_us: I64, ok: NDArray[np.bool_]
    ) -> list[tuple[int, str, str]]:
        """(row, reason, detail) of what is not as declared; ``ok`` becomes False there.

        Args:
            columns: field -> (n,) values; texts are not looked at.
            nulls: field -> (n,) where it has none; absent when it has everywhere.
            sizes: text field -> (n,) bytes.
            arrivals_us: (n,) when each row arrived.
            ok: (n,) rows to look at.
        """
        wrong = np.zeros(len(ok), dtype=np.bool_)
        for name, kind in self._schema.items():
            null, found = nulls.get(name), None
            if isinstance(kind, Int64):
                found = columns[name] == NULL_INT
                if name in self._allowed:
                    found = ~np.isin(columns[name], list(self._allowed[name]))
            elif isinstance(kind, Float64):
                with np.errstate(over="ignore", invalid="ignore"):
                    # NaN compares false, infinities are too large: both are found.
                    found = ~(np.abs(np.rint(columns[name] * kind.scale)) < _MAX_STEPS)
            elif isinstance(kind, String):
                found = sizes[name] > kind.max_bytes
            if found is not None:
                wrong |= found if null is None else found & ~null
            if null is not None and not kind.nullable:
                wrong |= null
        if self._time is not None:
            times_us, null = columns[self._time], nulls.get(self._time)
            wrong |= (times_us < self._earliest_us) | (times_us - self._future_us > arrivals_us)
            if null is not None:
                wrong |= null
        rows = np.flatnonzero(wrong & ok).tolist()
        ok[rows] = False
        return [(row, *self._words(row, columns, nulls, sizes, int(arrivals_us[row]))) for row in rows]

    def _words(self, row: int, columns: Columns, nulls: Columns, sizes: Columns, arrival_us: int) -> tuple[str, str]:
        for name, kind in self._schema.items():
            if name in nulls and nulls[name][row]:
                if not kind.nullable:
                    return "wrong_type", f"field {name!r} is null; it must be {type(kind).__name__}"
            elif isinstance(kind, String):
                if sizes[name][row] > kind.max_bytes:
                    return "too_large", f"field {name!r} has {sizes[name][row]} bytes; it may have {kind.max_bytes}"
            elif isinstance(kind, Int64):
                if columns[name][row] == NULL_INT:
                    return "out_of_range", f"field {name!r} is {NULL_INT}, which stands for null"
                if name in self._allowed and int(columns[name][row]) not in self._allowed[name]:
                    return bad_label(name, int(columns[name][row]), self._allowed[name])
            elif isinstance(kind, Float64):
                value = float(columns[name][row])
                if not np.isfinite(value):
                    return "not_finite", f"field {name!r} is {value}"
                if not abs(np.rint(value * kind.scale)) < _MAX_STEPS:
                    limit = f"it must stay below 2**53 steps of {kind.resolution:g}"
                    return "out_of_range", f"field {name!r} is {value}; {limit}"
        assert self._time is not None, "some check failed"
        if self._time in nulls and nulls[self._time][row]:
            return "wrong_type", f"field {self._time!r} is null; it must be a timestamp"
        try:
            time_us = int(columns[self._time][row])
            check_time_bounds(
                time_us, arrival_us, self._earliest_us, self._future_us, is_clamped=abs(time_us) > _UNCLAMPED_US
            )
        except Refused as refusal:
            return refusal.reason, refusal.detail
        raise AssertionError("some check failed")
