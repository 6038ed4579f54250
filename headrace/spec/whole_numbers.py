"""Whole numbers as JSON may write them: ``5``, and ``5.0`` or ``5e0`` alike."""

__all__ = ["whole_number"]

_EXACT = 2**53
"""From here on a double stands for more than one whole number."""


def whole_number(value: float) -> int | float:
    """The integer that a number with a point or an exponent is; the number itself when it is none for certain.

    >>> whole_number(227.0), whole_number(-0.0), whole_number(0.5), whole_number(2.0**53)
    (227, 0, 0.5, 9007199254740992.0)
    """
    return int(value) if value.is_integer() and -_EXACT < value < _EXACT else value
