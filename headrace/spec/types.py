"""Field types of a stream.

Numbers that are summed are exact: integers as they are, decimals in fixed point at a declared resolution,
so that any order of adding gives the same bits.
"""

from dataclasses import dataclass

from headrace.errors import DefinitionError

__all__ = ["Bool", "FieldType", "Float64", "Int64", "String", "as_field_type"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Int64:
    """A 64-bit signed integer."""

    nullable: bool = False

    @property
    def scale(self) -> int:
        """Units per 1 in the exact integer form."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Float64:
    """A decimal number, kept as a whole number of ``resolution`` steps.

    An input is rounded to the nearest step; NaN, infinities and 2**53 steps or more are refused.
    """

    resolution: float = 1e-6
    nullable: bool = False

    def __post_init__(self) -> None:
        ok = isinstance(self.resolution, float | int) and 0 < self.resolution <= 1
        if not ok or abs(1 / round(1 / self.resolution) - self.resolution) > 1e-9 * self.resolution:
            raise DefinitionError(
                f"Float64.resolution is {self.resolution!r}; it must be one divided by a whole number",
                hint="for cents write Float64(resolution=0.01)",
            )

    @property
    def scale(self) -> int:
        """Steps per 1: value = steps / scale."""
        return round(1 / self.resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class String:
    """A text, bounded in size; can be an entity key or an id, never an aggregated value."""

    max_bytes: int = 256
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bool:
    """True or false; its mean is a share."""

    nullable: bool = False

    @property
    def scale(self) -> int:
        """Units per 1 in the exact integer form."""
        return 1


FieldType = Int64 | Float64 | String | Bool


def as_field_type(kind: object, *, field: str) -> FieldType:
    """Accept ``Int64`` as well as ``Int64()``.

    Raises:
        DefinitionError: not a field type; names ``field`` and the value.
    """
    made = kind() if isinstance(kind, type) else kind
    if not isinstance(made, Int64 | Float64 | String | Bool):
        raise DefinitionError(
            f"field {field!r} has type {kind!r}", hint="use Int64, Float64(resolution=...), String or Bool"
        )
    return made
