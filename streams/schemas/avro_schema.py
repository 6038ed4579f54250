"""Avro schemas as written: names resolved, structure checked, sizes bounded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feature_store.json_depth import is_deeper

__all__ = ["MOST_JSON_DEEP", "PRIMITIVES", "AvroTypes", "SchemaRefusedError", "parse_schema", "type_words"]

PRIMITIVES = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
_MOST_CHARACTERS = 1_000_000
_MOST_DEEP = 64
MOST_JSON_DEEP = 256
"""Arrays and objects of a schema's text: a record in a record is three deeper."""
_SHOWN = 80

AvroType = str | list[Any] | dict[str, Any]


class SchemaRefusedError(Exception):
    """A writer's schema cannot be used for a stream; the text says why."""


@dataclass(frozen=True, slots=True)
class AvroTypes:
    """Named types, and the record at the top."""

    top: dict[str, Any]
    named: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Full name -> definition, its own references written as full names."""

    def resolve(self, kind: Any) -> Any:
        """The definition behind a name; everything else as it is."""
        return self.named[kind] if isinstance(kind, str) and kind not in PRIMITIVES else kind


def parse_schema(text: str, references: Sequence[str] = ()) -> AvroTypes:
    """Read the schema of a record.

    Args:
        text: the schema as JSON.
        references: schemas it names, each after those it names itself.

    Raises:
        SchemaRefusedError: it is no valid schema of a record.
    """
    named: dict[str, dict[str, Any]] = {}
    for reference in references:
        _checked(_load(reference), "", named, 0)
    top = _checked(_load(text), "", named, 0)
    made = AvroTypes(top={}, named=named).resolve(top)
    if not isinstance(made, dict) or made.get("type") != "record":
        raise SchemaRefusedError(f"the schema is {type_words(made)}, not a record")
    return AvroTypes(top=made, named=named)


def type_words(kind: Any) -> str:
    """A type as people call it.

    >>> type_words({"type": "long", "logicalType": "timestamp-millis"})
    'long (timestamp-millis)'
    >>> type_words(["null", "int"])
    'null or int'
    """
    if isinstance(kind, list):
        return " or ".join(map(type_words, kind))
    if not isinstance(kind, dict):
        return str(kind)[:_SHOWN]
    words = str(kind.get("name") or kind.get("type"))[:_SHOWN]
    logical = kind.get("logicalType")
    return f"{words} ({str(logical)[:_SHOWN]})" if logical else words


def _load(text: str) -> Any:
    if len(text) > _MOST_CHARACTERS:
        raise SchemaRefusedError(f"the schema has {len(text)} characters; it may have {_MOST_CHARACTERS}")
    if is_deeper(text.encode("utf-8", "replace"), MOST_JSON_DEEP):
        raise SchemaRefusedError(f"the schema's text is nested more than {MOST_JSON_DEEP} deep")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaRefusedError(f"the schema is no JSON: {str(error)[:_SHOWN]}") from error


def _checked(kind: Any, space: str, named: dict[str, dict[str, Any]], deep: int) -> Any:
    """The same type with every name in full, definitions collected in ``named``."""
    if deep > _MOST_DEEP:
        raise SchemaRefusedError(f"the schema is nested more than {_MOST_DEEP} deep")
    if isinstance(kind, str):
        if kind in PRIMITIVES:
            return kind
        for name in (kind if "." in kind or not space else f"{space}.{kind}", kind):
            if name in named:
                return name
        raise SchemaRefusedError(f"the schema names {kind[:_SHOWN]!r}, which it does not define")
    if isinstance(kind, list):
        if not kind:
            raise SchemaRefusedError("the schema has a union of nothing")
        return [_checked(branch, space, named, deep + 1) for branch in kind]
    if not isinstance(kind, dict):
        raise SchemaRefusedError(f"the schema has {str(kind)[:_SHOWN]} in the place of a type")
    what = kind.get("type")
    if what in ("record", "error", "enum", "fixed"):
        return _named(kind, space, named, deep)
    if what == "array":
        return {"type": "array", "items": _checked(kind.get("items"), space, named, deep + 1)}
    if what == "map":
        return {"type": "map", "values": _checked(kind.get("values"), space, named, deep + 1)}
    inner = _checked(what, space, named, deep + 1)
    return {**kind, "type": inner} if isinstance(inner, str) and inner in PRIMITIVES else inner


def _named(kind: dict[str, Any], space: str, named: dict[str, dict[str, Any]], deep: int) -> str:
    name, given = kind.get("name"), kind.get("namespace", space)
    if not isinstance(name, str) or not isinstance(given, str) or not name:
        raise SchemaRefusedError(f"the schema has a type called {str(name)[:_SHOWN]}")
    full = name if "." in name or not given else f"{given}.{name}"
    if full in named or full in PRIMITIVES:
        raise SchemaRefusedError(f"the schema defines {full[:_SHOWN]!r} twice")
    made: dict[str, Any] = {"type": "record" if kind["type"] == "error" else kind["type"], "name": full}
    if isinstance(kind.get("logicalType"), str):
        made |= {word: kind[word] for word in ("logicalType", "scale", "precision") if word in kind}
    named[full] = made
    if made["type"] == "fixed":
        made["size"] = _count(kind.get("size"), full)
    elif made["type"] == "enum":
        symbols = kind.get("symbols")
        if not isinstance(symbols, list):
            raise SchemaRefusedError(f"enum {full[:_SHOWN]!r} has no symbols")
        made |= {"symbols": symbols, "has_default": "default" in kind}
    else:
        made["fields"] = _fields(kind.get("fields"), full, named, deep)
        made["defaults"] = {entry["name"] for entry in kind["fields"] if "default" in entry}
        made["aliases"] = {entry["name"]: entry.get("aliases") or [] for entry in kind["fields"]}
    return full


def _fields(given: Any, full: str, named: dict[str, dict[str, Any]], deep: int) -> list[tuple[str, Any]]:
    if not isinstance(given, list):
        raise SchemaRefusedError(f"record {full[:_SHOWN]!r} has no fields")
    fields: dict[str, Any] = {}
    for entry in given:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or name in fields:
            raise SchemaRefusedError(
                f"record {full[:_SHOWN]!r} has a field called {str(name)[:_SHOWN]}, or has it twice"
            )
        fields[name] = _checked(entry.get("type"), full.rpartition(".")[0], named, deep + 1)
    return list(fields.items())


def _count(given: Any, full: str) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < 2**31:
        raise SchemaRefusedError(f"fixed {full[:_SHOWN]!r} has the size {str(given)[:_SHOWN]}")
    return given
