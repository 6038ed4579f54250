"""From the fields of events to the numbers their features add up: conditions decided, texts digested.

Fields come in exact form: whole steps with NULL where missing, texts as objects with None. One definition for stream,
file and lookup, so a condition cannot hold in one and fail in another.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import event_ids64
from feature_store.plan import NULL, InputPlan
from headrace.spec.conditions import AllOf, AnyOf, Compare, Condition, IsNull, Not, Scalar
from headrace.spec.types import FieldType, String

__all__ = ["derive", "fields_of"]

I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]
Columns = Mapping[str, NDArray[np.generic]]


def fields_of(inputs: Iterable[InputPlan]) -> tuple[str, ...]:
    """Event fields these inputs are made of, each once; the label is none."""
    names: list[str] = []
    for entry in inputs:
        if entry.column is not None and not entry.is_label:
            names.append(entry.column)
        if entry.where is not None:
            names.extend(entry.where.columns)
    return tuple(dict.fromkeys(names))


def derive(entry: InputPlan, columns: Columns, schema: Mapping[str, FieldType]) -> I64:
    """(n,) an input of each event; NULL where it has none.

    Args:
        entry: which; not a label.
        columns: field -> (n,) exact values, at least those of :func:`fields_of`.
        schema: types of the fields.
    """
    if entry.where is None:
        return _exact(columns[entry.column or ""])
    true, false = _decide(entry.where, columns, schema)
    if entry.column is not None:
        return np.where(true, _exact(columns[entry.column]), NULL)
    return np.where(true, 1, np.where(false, entry.otherwise, entry.unknown)).astype(np.int64)


def _exact(values: NDArray[np.generic]) -> I64:
    if values.dtype != object:
        return values.astype(np.int64, copy=False)
    missing = _missing(values)
    steps = np.full(len(values), NULL, dtype=np.int64)
    steps[~missing] = np.maximum(event_ids64(values[~missing]), NULL + 1)
    return steps


def _decide(condition: Condition, columns: Columns, schema: Mapping[str, FieldType]) -> tuple[Mask, Mask]:
    """Where it holds, and where it fails; neither where it is unknown."""
    if isinstance(condition, Compare):
        return _compare(condition, columns[condition.column], schema[condition.column])
    if isinstance(condition, IsNull):
        missing = _missing(columns[condition.column])
        return missing, ~missing
    if isinstance(condition, Not):
        true, false = _decide(condition.of, columns, schema)
        return false, true
    if not isinstance(condition, AllOf | AnyOf):
        raise AssertionError(f"no rule for {condition!r}")
    left, right = (_decide(part, columns, schema) for part in (condition.left, condition.right))
    if isinstance(condition, AllOf):
        return left[0] & right[0], left[1] | right[1]
    return left[0] | right[0], left[1] & right[1]


def _compare(condition: Compare, values: NDArray[np.generic], kind: FieldType) -> tuple[Mask, Mask]:
    known = ~_missing(values)
    wanted: Scalar = condition.value
    if not isinstance(kind, String):
        wanted = int(wanted) if isinstance(wanted, bool) else int(Fraction(str(wanted)) * kind.scale)
    holds: Mask = {
        "eq": np.equal,
        "ne": np.not_equal,
        "lt": np.less,
        "le": np.less_equal,
        "gt": np.greater,
        "ge": np.greater_equal,
    }[condition.operator](values, wanted).astype(np.bool_)
    return holds & known, ~holds & known


def _missing(values: NDArray[np.generic]) -> Mask:
    if values.dtype == object:
        return np.array([value is None for value in values.tolist()], dtype=np.bool_)
    missing: Mask = np.equal(values, NULL)
    return missing
