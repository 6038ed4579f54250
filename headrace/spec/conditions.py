"""Conditions on the fields of an event, for ``where=``: ``(col("amount") > 100) & (col("status") == "ok")``.

Null is unknown, as in SQL: what is compared with it neither holds nor fails, and ``~`` leaves it so. An event counts
where the whole condition holds.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NoReturn

from headrace.errors import DefinitionError
from headrace.spec.types import Bool, FieldType, String

__all__ = ["AllOf", "AnyOf", "Column", "Compare", "Condition", "IsNull", "Not", "Scalar", "col"]

Scalar = int | float | str | bool
Operator = Literal["eq", "ne", "lt", "le", "gt", "ge"]
_ORDERED = frozenset({"lt", "le", "gt", "ge"})


class Condition(ABC):
    """True, false or unknown of each event; combine with ``&``, ``|`` and ``~``."""

    __slots__ = ()

    def __and__(self, other: "Condition") -> "AllOf":
        return AllOf(self, _condition(other))

    def __or__(self, other: "Condition") -> "AnyOf":
        return AnyOf(self, _condition(other))

    def __invert__(self) -> "Not":
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise DefinitionError(
            "a condition has no truth value of its own", hint="write & | ~ and parentheses, not: and or not"
        )

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Fields it looks at, each once."""

    @property
    @abstractmethod
    def slug(self) -> str:
        """Its part of a derived feature name: ``amount_gt_100``."""

    @abstractmethod
    def check(self, schema: Mapping[str, FieldType], *, where: str) -> None:
        """Raise DefinitionError when a field is unknown or a value does not fit it; ``where`` begins the message."""


@dataclass(frozen=True, slots=True)
class Compare(Condition):
    """A field against a value."""

    column: str
    operator: Operator
    value: Scalar

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def slug(self) -> str:
        operator = {"eq": "is", "ne": "is_not"}.get(self.operator, self.operator)
        return f"{_word(self.column)}_{operator}_{_word(self.value)}"

    def check(self, schema: Mapping[str, FieldType], *, where: str) -> None:
        kind = _kind(self.column, schema, where)
        text = f"{where}: {self.column!r} is compared with {self.value!r}"
        if isinstance(kind, String | Bool):
            if not isinstance(self.value, str if isinstance(kind, String) else bool):
                raise DefinitionError(f"{text} and is {kind!r}", hint="give a value of the field's type")
            if self.operator in _ORDERED:
                raise DefinitionError(f"{text}: {self.operator!r} needs a number field", hint="use == or is_in")
            return
        if isinstance(self.value, bool | str):
            raise DefinitionError(f"{text} and is {kind!r}", hint="give a number")
        steps = Fraction(str(self.value)) * kind.scale
        if steps.denominator != 1 or abs(steps) >= 2**53:
            raise DefinitionError(
                f"{text}, which is no whole number of its steps of 1/{kind.scale}",
                hint="compare with a value the field can have",
            )


@dataclass(frozen=True, slots=True)
class IsNull(Condition):
    """Whether a field is null; never unknown."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def slug(self) -> str:
        return f"{_word(self.column)}_is_null"

    def check(self, schema: Mapping[str, FieldType], *, where: str) -> None:
        if not _kind(self.column, schema, where).nullable:
            raise DefinitionError(f"{where}: {self.column!r} is never null", hint="declare it nullable=True")


@dataclass(frozen=True, slots=True)
class _Pair(Condition):
    left: Condition
    right: Condition

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.left.columns, *self.right.columns)))

    def check(self, schema: Mapping[str, FieldType], *, where: str) -> None:
        self.left.check(schema, where=where)
        self.right.check(schema, where=where)


@dataclass(frozen=True, slots=True)
class AllOf(_Pair):
    """Both."""

    @property
    def slug(self) -> str:
        return f"{self.left.slug}_and_{self.right.slug}"


@dataclass(frozen=True, slots=True)
class AnyOf(_Pair):
    """Either, or both."""

    @property
    def slug(self) -> str:
        return f"{self.left.slug}_or_{self.right.slug}"


@dataclass(frozen=True, slots=True)
class Not(Condition):
    """The opposite; unknown stays unknown."""

    of: Condition

    @property
    def columns(self) -> tuple[str, ...]:
        return self.of.columns

    @property
    def slug(self) -> str:
        return f"not_{self.of.slug}"

    def check(self, schema: Mapping[str, FieldType], *, where: str) -> None:
        self.of.check(schema, where=where)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A field of the event, to be compared; see :func:`col`."""

    name: str

    def __eq__(self, value: Scalar) -> Compare:  # type: ignore[override] # a comparison is what it makes
        return Compare(self.name, "eq", value)

    def __ne__(self, value: Scalar) -> Compare:  # type: ignore[override] # as above
        return Compare(self.name, "ne", value)

    def __lt__(self, value: Scalar) -> Compare:
        return Compare(self.name, "lt", value)

    def __le__(self, value: Scalar) -> Compare:
        return Compare(self.name, "le", value)

    def __gt__(self, value: Scalar) -> Compare:
        return Compare(self.name, "gt", value)

    def __ge__(self, value: Scalar) -> Compare:
        return Compare(self.name, "ge", value)

    __hash__ = None  # type: ignore[assignment] # == makes a condition, so a set could not tell two columns apart

    def is_in(self, values: Iterable[Scalar]) -> Condition:
        """Whether the field has one of these values."""
        made: Condition | None = None
        for value in values:
            made = Compare(self.name, "eq", value) if made is None else made | Compare(self.name, "eq", value)
        if made is None:
            raise DefinitionError(f"{self.name!r} is in no values at all", hint="give at least one")
        return made

    def is_null(self) -> IsNull:
        """Whether the field is null."""
        return IsNull(self.name)


def col(name: str) -> Column:
    """A field by name.

    >>> (col("amount") > 100) & ~(col("status") == "failed")
    AllOf(left=Compare(column='amount', operator='gt', value=100), right=Not(of=Compare(column='status', \
operator='eq', value='failed')))
    """
    return Column(name)


def _condition(value: object) -> Condition:
    if not isinstance(value, Condition):
        raise DefinitionError(f"{value!r} is no condition", hint='write one such as col("amount") > 100')
    return value


def _kind(column: str, schema: Mapping[str, FieldType], where: str) -> FieldType:
    if column not in schema:
        raise DefinitionError(f"{where}: {column!r} is no field", hint=f"fields are {sorted(schema)}")
    return schema[column]


def _word(value: Scalar) -> str:
    """A value as part of a name.

    >>> [_word(value) for value in ("Card Payment", -0.5, True)]
    ['card_payment', 'minus_0_5', 'true']
    """
    text = str(value).lower()
    if isinstance(value, int | float) and text.startswith("-"):
        text = f"minus_{text[1:]}"
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")
