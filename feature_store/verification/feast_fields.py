"""The fields of a row as any Feast client reads them, as cells; pure.

Bytes that are no value of the feature's own type are told apart: a client reads something else there, or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store.online.online_layout import (
    decode_timestamp,
    decode_value,
    encode_timestamp,
    encode_value,
    feature_field,
    timestamp_field,
)
from feature_store.plan import FeaturePlan, ViewPlan
from headrace.errors import IntegrityError

__all__ = ["FeastRows", "feast_fields", "feast_rows"]

_FIRST_US, _END_US = -62_135_596_800_000_000, 253_402_300_800_000_000
"""Years 1 and 10000: what a client's datetime can be lies between them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeastRows:
    """n rows of one view."""

    cells: NDArray[np.float64]
    """(n, W) as feature_store.row_values says; NaN is null, or unreadable."""
    times_us: NDArray[np.float64]
    """(n,) event timestamps; exact below 2**53, NaN where there is none or it is unreadable."""
    is_unreadable: NDArray[np.bool_]
    """(n, W + 1) where the bytes are no such value; the timestamp stands last."""


def feast_fields(plan: ViewPlan) -> list[bytes]:
    """Hash fields of a row, in the order in which :func:`feast_rows` takes their content."""
    view = plan.view
    return [*(feature_field(view.name, name) for name in plan.feature_names), timestamp_field(view.name)]


def feast_rows(plan: ViewPlan, contents: Sequence[Sequence[bytes | None]]) -> FeastRows:
    """Rows from the content of their fields; None where a field is absent."""
    cells = np.full((len(contents), plan.width), np.nan)
    times_us = np.full(len(contents), np.nan)
    unreadable = np.zeros((len(contents), plan.width + 1), np.bool_)
    for row, (*values, time) in enumerate(contents):
        is_there = any(value is not None for value in values)
        for entry, data in zip(plan.features, values, strict=True):
            items = _items(entry, data, is_int=bool(plan.is_int[entry.slot])) if is_there else []
            if items is None:
                unreadable[row, entry.slot : entry.slot + entry.feature.width] = True
            else:
                cells[row, entry.slot : entry.slot + len(items)] = items
        if time is not None:
            instant_us = _instant_us(time)
            unreadable[row, -1] = instant_us is None
            times_us[row] = np.nan if instant_us is None else instant_us
    return FeastRows(cells=cells, times_us=times_us, is_unreadable=unreadable)


def _items(entry: FeaturePlan, data: bytes | None, *, is_int: bool) -> list[float] | None:
    """The first cells of a feature, the others being null; None when the bytes are no value of its type."""
    try:
        value = decode_value(data)
    except IntegrityError:
        return None
    if isinstance(value, list):
        fits = entry.feature.is_list and len(value) <= entry.feature.width
        return value if fits and encode_value(value, is_int=False) == data else None
    if entry.feature.is_list:
        return None  # an empty list is written as one
    if value is None:
        return []
    if isinstance(value, int) != is_int:
        return None
    number = float(value)
    return [number] if encode_value(number, is_int=is_int) == data else None


def _instant_us(data: bytes) -> int | None:
    try:
        instant_us = decode_timestamp(data)
    except IntegrityError:
        return None
    return instant_us if _FIRST_US <= instant_us < _END_US and encode_timestamp(instant_us) == data else None
