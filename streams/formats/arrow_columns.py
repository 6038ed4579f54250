"""Arrow arrays of any type that fits to the columns of a batch.

Each declared field meets one array type a schema; what to do with it is chosen once, from the type.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headrace.spec.types import Bool, FieldType, Float64, Int64, String

__all__ = ["DTYPES", "Made", "Reader", "all_null", "reader_of"]

Made = tuple[NDArray[Any], NDArray[np.bool_] | None, NDArray[Any] | None]
"""Values, where they are null (None: nowhere), and for texts their bytes, for times where they are finer than µs."""
Reader = Callable[[Any], Made]

DTYPES: dict[type, Any] = {Int64: np.int64, Float64: np.float64, String: object, Bool: np.bool_}
"""Of columns, by declared type."""
_UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_FAR = 2**62
_EXACT = 2**53
_MOST_DIGITS = 38
"""Of a decimal of 128 bits."""
_MOST_SCALE = 22
"""10**22 is the largest power of ten a double holds exactly."""


def reader_of(kind: FieldType | None, given: pa.DataType) -> Reader | None:
    """What reads arrays of a type into a column; None when the type does not fit.

    Args:
        kind: declared type; None for the time.
        given: type of the producer's column.
    """
    if kind is None:
        if not pa.types.is_timestamp(given) or given.tz is None:
            return None
        return _nanoseconds if given.unit == "ns" else _times(_UNITS_US[given.unit])
    if pa.types.is_null(given):
        return lambda array: all_null(kind, len(array))
    if isinstance(kind, String):
        return _text_reader(given)
    if pa.types.is_dictionary(given):
        inner = reader_of(kind, given.value_type)
        return None if inner is None else lambda array: inner(array.dictionary_decode())
    if isinstance(kind, Bool):
        return _truths if pa.types.is_boolean(given) else None
    whole = pa.types.is_integer(given) and given != pa.uint64()
    if isinstance(kind, Int64):
        return _wholes if whole else None
    assert isinstance(kind, Float64), "four types and the time"
    if pa.types.is_decimal128(given):
        return _decimals(given.scale) if 0 <= given.scale <= _MOST_DIGITS else None
    return _reals if whole or pa.types.is_floating(given) else None


def all_null(kind: FieldType, count: int) -> Made:
    """A column without a value."""
    value: Any = np.nan if isinstance(kind, Float64) else None if isinstance(kind, String) else 0
    values = np.full(count, value, dtype=DTYPES[type(kind)])
    return values, np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.int64)


def _nulls(array: Any) -> NDArray[np.bool_] | None:
    if not array.null_count:
        return None
    mask: NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return mask


def _filled(array: Any, value: Any) -> NDArray[Any]:
    filled: NDArray[Any] = (array.fill_null(value) if array.null_count else array).to_numpy(zero_copy_only=False)
    return filled


def _wholes(array: Any) -> Made:
    return _filled(array, 0).astype(np.int64, copy=False), _nulls(array), None


def _reals(array: Any) -> Made:
    given = _filled(array.cast(pa.float64()) if pa.types.is_float16(array.type) else array, 0)
    # + 0.0 turns the negative zero into the only zero there is.
    with np.errstate(invalid="ignore"):  # what is no number is refused as such later
        values = given.astype(np.float64) + 0.0
    nulls = _nulls(array)
    if nulls is not None:
        values[nulls] = np.nan
    return values, nulls, None


def _truths(array: Any) -> Made:
    return _filled(array, False), _nulls(array), None


def _times(unit_us: int) -> Reader:
    def read(array: Any) -> Made:
        values = _filled(array.view(pa.int64()), 0)
        if unit_us > 1:
            values = np.clip(values, -_FAR // unit_us, _FAR // unit_us) * unit_us
        return values, _nulls(array), None

    return read


def _nanoseconds(array: Any) -> Made:
    values = _filled(array.view(pa.int64()), 0)
    return values // 1_000, _nulls(array), values % 1_000 != 0


def _decimals(scale: int) -> Reader:
    def read(array: Any) -> Made:
        nulls = _nulls(array)
        words = np.frombuffer(array.buffers()[1], dtype=np.int64)[2 * array.offset :][: 2 * len(array)].reshape(-1, 2)
        low, high = words[:, 0], words[:, 1]
        small = (high == low >> 63) & (np.abs(low) <= _EXACT) & (low != -(2**63)) & (scale <= _MOST_SCALE)
        values = np.where(small, low, 0) / 10.0 ** min(scale, _MOST_SCALE) + 0.0
        for row in np.flatnonzero(~small).tolist():
            given: Decimal | None = array[row].as_py()
            values[row] = 0.0 if given is None else float(given)
        if nulls is not None:
            values[nulls] = np.nan
        return values, nulls, None

    return read


def _text_reader(given: pa.DataType) -> Reader | None:
    if pa.types.is_dictionary(given):
        inner = _text_reader(given.value_type)
        return None if inner is None or pa.types.is_dictionary(given.value_type) else _named_texts
    if pa.types.is_string(given) or pa.types.is_large_string(given):
        return _texts
    return None


def _texts(array: Any) -> Made:
    width = np.int64 if pa.types.is_large_string(array.type) else np.int32
    if not len(array):
        return np.empty(0, dtype=object), None, np.empty(0, dtype=np.int64)
    bounds = np.frombuffer(array.buffers()[1], dtype=width)[array.offset : array.offset + len(array) + 1]
    nulls = _nulls(array)
    sizes = np.diff(bounds)
    return array.to_numpy(zero_copy_only=False), nulls, sizes if nulls is None else np.where(nulls, 0, sizes)


def _named_texts(array: Any) -> Made:
    """Texts of a dictionary; rows share them, so a long one that many rows name takes its memory once."""
    nulls, known = _nulls(array.indices), array.dictionary
    codes = _filled(array.indices, 0).astype(np.int64, copy=False)
    if len(known) > len(codes):
        # Each batch of a stream may name few texts of a long dictionary.
        used, codes = np.unique(codes, return_inverse=True)
        known = known.take(pa.array(used))
    values, missing, sizes = _texts(known)
    assert sizes is not None, "texts have sizes"
    if not len(values):
        # Every row is null, or validation has refused the batch.
        return np.full(len(codes), None, dtype=object), np.ones(len(codes), dtype=np.bool_), np.zeros(len(codes))
    if missing is not None:
        nulls = missing[codes] if nulls is None else nulls | missing[codes]
    texts, counts = values[codes], sizes[codes]
    if nulls is not None:
        texts[nulls], counts[nulls] = None, 0
    return texts, nulls, counts
