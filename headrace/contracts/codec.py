"""Contracts to JSON bytes and back.

Unknown fields are ignored, so an older reader survives a newer writer; absent fields take their defaults.
"""

from typing import Any, TypeVar

import msgspec

from headrace.errors import IntegrityError

__all__ = ["decode", "encode"]

T = TypeVar("T")


def encode(value: Any) -> bytes:
    """JSON of a contract (a dataclass of plain values)."""
    return msgspec.json.encode(value)


def decode(data: bytes | str, kind: type[T]) -> T:
    """Read a contract.

    Raises:
        IntegrityError: the bytes are not JSON, or not of this contract.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"these bytes are no {kind.__name__}: {error}") from error
