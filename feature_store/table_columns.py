"""Columns of a user's table in exact form: found by name, checked, and refused with the row that is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.plan import NULL, to_steps
from headrace.clock import format_us
from headrace.errors import ConfigError
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Bool, FieldType, Float64, String

__all__ = ["find_column", "has_column", "read_field", "read_labels", "read_steps", "read_times", "with_ids"]

_MAX_STEPS = 2**53


def has_column(table: pa.Table, name: str) -> bool:
    """Whether :func:`find_column` would find it."""
    return name in table.column_names or name.lower() in (column.lower() for column in table.column_names)


def find_column(table: pa.Table, name: str, *, what: str) -> pa.ChunkedArray:
    """The column called ``name``; failing that, the only one that differs from it in case alone.

    Raises:
        ConfigError: there is none, or several.
    """
    if name in table.column_names:
        return table[table.column_names.index(name)]
    alike = [column for column in table.column_names if column.lower() == name.lower()]
    if len(alike) != 1:
        found = f"columns {alike}, none of them exactly so" if alike else f"only {table.column_names}"
        raise ConfigError(f"{what} has no column {name!r}, {found}", hint=f"rename the column to {name!r}")
    return table[table.column_names.index(alike[0])]


def with_ids(table: pa.Table, stream: EventStream, *, first: int = 0) -> pa.Table:
    """The table with ids: of a stream without, rows are numbered in their order, unless the table tells their places.

    Args:
        table: rows of the stream's events.
        stream: what they are.
        first: number of the first row.
    """
    if stream.has_id or has_column(table, stream.id):
        return table
    return table.append_column(stream.id, pa.array(np.arange(first, first + table.num_rows)))


def read_times(table: pa.Table, stream: EventStream, *, what: str) -> NDArray[np.int64]:
    """Event times in microseconds: timestamps with a zone, of any unit, or integers that are microseconds already.

    Raises:
        ConfigError: no zone, another type, nulls, or an instant before the stream's ``earliest``.
    """
    name = stream.time
    column = find_column(table, name, what=what)
    where = f"column {name!r} of {what}"
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise ConfigError(
                f"{where} has timestamps without a time zone ({column.type})",
                hint="say which zone they are in, for UTC: column.cast(pa.timestamp('us', tz='UTC'))",
            )
        column = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
    elif not pa.types.is_integer(column.type):
        raise ConfigError(
            f"{where} is {column.type}", hint="give timestamps with a zone, or integer microseconds since 1970"
        )
    _refuse_nulls(column, where)
    times = _integers(column, where)
    early = times < stream.earliest_us
    if early.any():
        row = int(early.argmax())
        raise ConfigError(
            f"{where}: {int(early.sum())} times are before {stream.earliest},"
            f" first {format_us(int(times[row]))} in row {row}",
            hint="integers are read as microseconds; otherwise set `earliest` of the stream",
        )
    return times


def read_field(table: pa.Table, name: str, kind: FieldType, *, what: str) -> NDArray[np.generic]:
    """A field as a producer means it: int64, float64, bool, or texts in an object array; nulls as NaN or None.

    Raises:
        ConfigError: wrong type, nulls in a field that has none, numbers that are not finite or too large.
    """
    column = find_column(table, name, what=what)
    where = f"column {name!r} of {what}"
    if not kind.nullable:
        _refuse_nulls(column, where)
    if isinstance(kind, String):
        return _texts(column, where)
    if isinstance(kind, Bool):
        if not pa.types.is_boolean(column.type):
            raise ConfigError(f"{where} is {column.type}, not bool", hint="cast it, or declare another type")
        return _plain(column)
    if isinstance(kind, Float64):
        return _decimals(column, kind, where)
    _integers(column.drop_null(), where)
    return _plain(column.cast(pa.int64()))


def read_steps(table: pa.Table, name: str, kind: FieldType, *, what: str) -> NDArray[np.int64]:
    """A number in whole steps, NULL where missing.

    Raises:
        ConfigError: as :func:`read_field`.
    """
    column = find_column(table, name, what=what)
    values = read_field(table, name, kind, what=what)
    if isinstance(kind, Float64):
        return to_steps(values.astype(np.float64, copy=False), kind.scale)
    if column.null_count:
        missing = column.is_null().to_numpy()
        filled: NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy().copy()
        filled[missing] = NULL
        return filled
    return values.astype(np.int64, copy=False)


def read_labels(column: pa.ChunkedArray, labels: LabelStream, *, what: str) -> NDArray[np.int64]:
    """Outcomes 0 and 1, NULL where unknown.

    Raises:
        ConfigError: anything else.
    """
    where = f"column {labels.value!r} of {what}"
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    _integers(column.drop_null(), where)
    values: NDArray[np.int64] = column.cast(pa.int64()).fill_null(NULL).to_numpy().copy()
    wrong = (values != 0) & (values != 1) & (values != NULL)
    if wrong.any():
        row = int(wrong.argmax())
        raise ConfigError(
            f"{where}: {int(wrong.sum())} values are no outcome, first {int(values[row])} in row {row}",
            hint="outcomes are 0 or 1, and null while unknown",
        )
    return values


def _refuse_nulls(column: pa.ChunkedArray, where: str) -> None:
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise ConfigError(
            f"{where} has {column.null_count} nulls, first in row {row}", hint="fill them, or leave those rows out"
        )


def _integers(column: pa.ChunkedArray, where: str) -> NDArray[np.int64]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if not pa.types.is_integer(column.type):
        raise ConfigError(f"{where} is {column.type}, not an integer", hint="cast it, or declare another type")
    try:
        numbers: NDArray[np.int64] = column.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{where} has numbers above 2**63: {error}") from error
    return numbers


def _decimals(column: pa.ChunkedArray, kind: Float64, where: str) -> NDArray[np.float64]:
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
        raise ConfigError(f"{where} is {column.type}, not a number", hint="cast it, or declare another type")
    column = column.cast(pa.float64(), safe=False)
    numbers: NDArray[np.float64] = column.to_numpy()
    wrong: NDArray[np.bool_] = ~(np.abs(numbers) * kind.scale < _MAX_STEPS)
    if column.null_count:
        wrong &= ~column.is_null().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise ConfigError(
            f"{where}: {int(wrong.sum())} values cannot be counted, first {numbers[row]} in row {row}",
            hint=f"values are finite and below 2**53 steps of {kind.resolution:g}; raise the resolution or clean them",
        )
    return numbers


def _texts(column: pa.ChunkedArray, where: str) -> NDArray[np.generic]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ConfigError(f"{where} is {column.type}, not a text", hint="cast it, or declare another type")
    texts: NDArray[np.generic] = column.cast(pa.string()).to_numpy()
    return texts


def _plain(column: pa.ChunkedArray) -> NDArray[np.generic]:
    values: NDArray[np.generic] = column.to_numpy()
    return values
