"""The cells of a row as values: one number each, or a list of those that are there.

Cells are float64, NaN is null; a list of up to ``k`` items takes ``k`` cells, filled from the first.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.plan import ViewPlan
from headrace.spec.features import Feature, FeatureView
from headrace.spec.types import Int64

__all__ = ["Value", "arrow_type", "cell_names", "value_arrays", "value_columns", "value_lists"]

Value = float | int | list[float | int] | None


def arrow_type(feature: Feature) -> pa.DataType:
    """Column type of a feature."""
    number = pa.int64() if feature.value_type is Int64 else pa.float64()
    return pa.list_(number) if feature.is_list else number


def cell_names(view: FeatureView) -> tuple[str, ...]:
    """Full name of each cell; those of a list are numbered."""
    return tuple(
        f"{full}[{item}]" if feature.is_list else full
        for full, feature in zip(view.full_names, view.features, strict=True)
        for item in range(feature.width)
    )


def value_arrays(plan: ViewPlan, cells: NDArray[np.float64]) -> list[pa.Array]:
    """A column of each feature from (n, W) cells."""
    arrays = []
    for entry in plan.features:
        part = np.ascontiguousarray(cells[:, entry.slot : entry.slot + entry.feature.width])
        missing = np.isnan(part)
        whole = entry.feature.value_type is Int64
        if not entry.feature.is_list:
            column, null = part[:, 0], missing[:, 0]
            numbers = np.where(null, 0.0, column).astype(np.int64) if whole else column
            arrays.append(pa.array(numbers, mask=null if null.any() else None))
            continue
        ends = np.concatenate([[0], np.cumsum((~missing).sum(axis=1))]).astype(np.int32)
        items = part[~missing]
        arrays.append(pa.ListArray.from_arrays(ends, pa.array(items.astype(np.int64) if whole else items)))
    return arrays


def value_columns(plan: ViewPlan, cells: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Full name -> (n,) values, of a list (n, k); as derived features take them."""
    return {
        name: cells[:, entry.slot : entry.slot + entry.feature.width]
        if entry.feature.is_list
        else np.ascontiguousarray(cells[:, entry.slot])
        for name, entry in zip(plan.view.full_names, plan.features, strict=True)
    }


def value_lists(plan: ViewPlan, cells: NDArray[np.float64]) -> list[list[Value]]:
    """(n, F) values as Python has them."""
    null = np.isnan(cells)
    numbers: NDArray[Any] = cells.astype(object)
    whole = plan.is_int
    if whole.any():
        numbers[:, whole] = np.where(null[:, whole], 0.0, cells[:, whole]).astype(np.int64)
    numbers[null] = None
    rows: list[list[Value]] = numbers.tolist()
    if not any(entry.feature.is_list for entry in plan.features):
        return rows
    spans = [(entry.slot, entry.slot + entry.feature.width, entry.feature.is_list) for entry in plan.features]
    return [[_items(row[low:high]) if many else row[low] for low, high, many in spans] for row in rows]


def _items(cells: list[Value]) -> list[float | int]:
    return [item for item in cells if isinstance(item, float | int)]
