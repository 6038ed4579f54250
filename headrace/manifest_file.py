"""Contracts as JSON files, with the standard library alone.

A bare GPU image that trains has no JSON library of ours; the form is the one :mod:`headrace.contracts.codec` reads.
"""

import dataclasses
import json
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from headrace.durable_files import write_file
from headrace.errors import HeadraceError, IntegrityError

__all__ = ["from_json", "read_manifest", "to_json", "write_manifest"]

T = TypeVar("T")


def write_manifest(path: Path, value: Any) -> None:
    """Write a contract (a dataclass of plain values) as indented JSON, whole or not at all."""
    write_file(path, to_json(value))


def read_manifest(path: Path, kind: type[T]) -> T:
    """Read a contract written by :func:`write_manifest`.

    Raises:
        IntegrityError: the file is absent, is not JSON, or not of this contract.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error
    try:
        return from_json(text, kind)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error.args[0]}") from error


def to_json(value: Any) -> bytes:
    """Indented JSON of a contract.

    Raises:
        HeadraceError: a number is not finite; JSON has no word for it.
    """
    try:
        return json.dumps(dataclasses.asdict(value), indent=2, allow_nan=False).encode() + b"\n"
    except ValueError as error:
        raise HeadraceError(f"{type(value).__name__} holds a number that is not finite: {error}") from error


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read a contract; unknown fields are ignored, absent ones take their defaults.

    >>> from headrace.contracts.artifacts import GateResult
    >>> gate = GateResult(gate="latency", passed=True, value=0.1, limit=10.0, detail="quick")
    >>> from_json(to_json(gate), GateResult) == gate
    True

    Raises:
        IntegrityError: not JSON, or not of this contract.
    """
    try:
        return _build(json.loads(text), kind)  # type: ignore[no-any-return]  # _build returns a value of kind
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"not a {kind.__name__}: {error}") from error


def _build(value: Any, kind: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, found {value!r}")
        hints = get_type_hints(kind)
        known = {field.name for field in dataclasses.fields(kind) if field.init}
        return kind(**{name: _build(item, hints[name]) for name, item in value.items() if name in known})
    if origin in (Union, UnionType):
        if value is None and type(None) in arguments:
            return None
        return _build(value, next(arm for arm in arguments if arm is not type(None)))
    if origin is tuple:
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_build(item, arm) for item, arm in zip(value, items, strict=True))
    if origin is dict:
        return {key: _build(item, arguments[1]) for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (str, int, float, bool) and type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {value!r}")
    return value
