"""From a writer's schema and a declared one to the program the Avro kernel follows.

Records are flat streams of values, so reading one is a list of instructions in the writer's order: those for declared
fields put a value into a column, those for others step over it. A union is a table of jumps, an array or map a loop, a
record within a record a subroutine (so that a schema that names itself, or one type many times, stays small).

    BLOCK end ─► items … ─► NEXT (one more? back behind BLOCK : back to BLOCK) ─► end
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.spec.types import Bool, FieldType, Float64, Int64, String
from streams.formats import avro_kernels as op
from streams.schemas.avro_schema import AvroTypes, SchemaRefusedError, parse_schema, type_words

__all__ = ["AvroProgram", "compile_schema"]

_MOST_INSTRUCTIONS = 50_000
_TIME_UNITS = {"timestamp-micros": 1, "timestamp-millis": 1_000}


@dataclass(frozen=True, slots=True, eq=False)
class AvroProgram:
    """How messages of one writer's schema are read."""

    code: NDArray[np.int64]
    """(instructions, avro_kernels.CODE)"""
    words: tuple[str, ...]
    """What WRONG_BRANCH means, by number."""


def compile_schema(
    text: str, references: Sequence[str], schema: Mapping[str, FieldType], time: str | None
) -> AvroProgram:
    """The program of a writer's schema.

    Args:
        text: the writer's schema as JSON.
        references: schemas it names.
        schema: declared fields; column f of the kernel is the f-th of them, the time comes last.
        time: name of the time field; None when there is none.

    Raises:
        SchemaRefusedError: it is no schema, or no message of it can have the declared fields.
    """
    types = parse_schema(text, references)
    names = [*schema, *([time] if time is not None else [])]
    written = dict(types.top["fields"])
    for name in names:
        kind = schema.get(name)
        if name not in written and (kind is None or not kind.nullable):
            raise SchemaRefusedError(f"field {name!r} is missing; the schema has {_some(list(written))}")
    made = _Assembler(types)
    for name, kind in written.items():
        if name in names:
            made.read(names.index(name), name, schema.get(name), kind)
        else:
            made.skip(kind)
    made.emit(op.END)
    made.link()
    return AvroProgram(np.array(made.code, dtype=np.int64).reshape(-1, op.CODE), tuple(made.words))


class _Assembler:
    """Instructions as they come; addresses of subroutines are filled in at the end."""

    def __init__(self, types: AvroTypes) -> None:
        self._types = types
        self.code: list[list[int]] = []
        self.words: list[str] = []
        self._records: dict[str, int] = {}
        """Full name -> number; calls hold the number until addresses are known."""
        self._empty: dict[str, bool] = {}

    def emit(self, code: int, field: int = 0, x: int = 0, y: int = 0) -> int:
        if len(self.code) >= _MOST_INSTRUCTIONS:
            raise SchemaRefusedError(f"the schema needs more than {_MOST_INSTRUCTIONS} steps")
        self.code.append([code, field, x, y])
        return len(self.code) - 1

    def link(self) -> None:
        """Append the subroutines, then give calls their addresses."""
        addresses: list[int] = []
        while len(addresses) < len(self._records):
            name = list(self._records)[len(addresses)]
            addresses.append(len(self.code))
            for _, kind in self._types.named[name]["fields"]:
                self.skip(kind)
            self.emit(op.RETURN)
        for line in self.code:
            if line[0] == op.CALL:
                line[2] = addresses[line[2]]

    def read(self, field: int, name: str, declared: FieldType | None, kind: Any) -> None:
        """Put a value into a column; ``declared`` is None for the time."""
        kind = self._types.resolve(kind)
        if not isinstance(kind, list):
            if not self._read_one(field, declared, kind):
                raise SchemaRefusedError(_mismatch(name, declared, kind))
            return
        branches = [self._types.resolve(branch) for branch in kind]
        first = self._table(len(branches))
        ends, readable = [], 0
        for number, branch in enumerate(branches):
            self.code[first + number][2] = len(self.code)
            if branch == "null":
                self.emit(op.NULL, field)
            elif self._read_one(field, declared, branch):
                readable += 1
            else:
                self.words.append(_mismatch(name, declared, branch))
                self.emit(op.REFUSE, field, len(self.words) - 1)
            ends.append(self.emit(op.JUMP))
        if not readable:
            raise SchemaRefusedError(_mismatch(name, declared, branches))
        for end in ends:
            self.code[end][2] = len(self.code)

    def skip(self, kind: Any) -> None:
        """Step over a value."""
        kind = self._types.resolve(kind)
        if self._is_empty(kind):
            return
        if isinstance(kind, list):
            self._skip_union(kind)
            return
        what = kind if isinstance(kind, str) else kind["type"]
        if what in ("array", "map"):
            self._skip_blocks(kind)
        elif what == "record":
            self.emit(op.CALL, 0, self._records.setdefault(kind["name"], len(self._records)))
        elif what == "enum":
            self.emit(op.SKIP_ENUM, 0, len(kind["symbols"]))
        elif what == "fixed":
            self.emit(op.SKIP_FIXED, 0, kind["size"])
        elif what in ("float", "double"):
            self.emit(op.SKIP_FIXED, 0, 4 if what == "float" else 8)
        else:
            codes = {"boolean": op.SKIP_BOOLEAN, "bytes": op.SKIP_BYTES, "string": op.SKIP_BYTES}
            self.emit(codes.get(what, op.SKIP_LONG))

    def _table(self, branches: int) -> int:
        """A union whose jumps are still to be filled in; gives the first of them."""
        self.emit(op.UNION, 0, branches)
        first = len(self.code)
        for _ in range(branches):
            self.emit(op.JUMP)
        return first

    def _skip_union(self, branches: list[Any]) -> None:
        first, ends = self._table(len(branches)), []
        for number, branch in enumerate(branches):
            self.code[first + number][2] = len(self.code)
            self.skip(branch)
            ends.append(self.emit(op.JUMP))
        for end in ends:
            self.code[end][2] = len(self.code)

    def _skip_blocks(self, kind: dict[str, Any]) -> None:
        items = kind["items"] if kind["type"] == "array" else kind["values"]
        if kind["type"] == "array" and self._is_empty(self._types.resolve(items)):
            at = self.emit(op.EMPTY_BLOCK)
        else:
            at = self.emit(op.BLOCK)
            if kind["type"] == "map":
                self.emit(op.SKIP_BYTES)
            self.skip(items)
            self.emit(op.NEXT, 0, at)
        self.code[at][2] = len(self.code)

    def _is_empty(self, kind: Any) -> bool:
        """Whether a value takes no bytes, and so no step: a message could hold any number of them."""
        if not isinstance(kind, dict):
            return bool(kind == "null")
        if kind["type"] == "fixed":
            return bool(kind["size"] == 0)
        if kind["type"] != "record":
            return False
        name = kind["name"]
        if name not in self._empty:
            self._empty[name] = False  # while it is being looked at: what holds itself is not empty
            self._empty[name] = all(self._is_empty(self._types.resolve(entry)) for _, entry in kind["fields"])
        return self._empty[name]

    def _read_one(self, field: int, declared: FieldType | None, kind: Any) -> bool:
        """Emit the instruction for a type without branches; False when it is not what is declared."""
        what = kind if isinstance(kind, str) else kind["type"]
        logical = kind.get("logicalType") if isinstance(kind, dict) else None
        if declared is None:
            unit = _TIME_UNITS.get(str(logical)) if what == "long" else None
            return unit is not None and self.emit(op.LONG, field, 0, unit) >= 0
        if isinstance(declared, Float64) and logical == "decimal" and what in ("bytes", "fixed"):
            scale = kind.get("scale", 0)
            whole = isinstance(scale, int) and not isinstance(scale, bool) and 0 <= scale < 2**31
            return whole and self.emit(op.DECIMAL, field, kind["size"] if what == "fixed" else -1, scale) >= 0
        narrow = int(what == "int")
        codes = {
            (Int64, "int"): (op.LONG, narrow, 1),
            (Int64, "long"): (op.LONG, narrow, 1),
            (Float64, "int"): (op.LONG_REAL, narrow, 0),
            (Float64, "long"): (op.LONG_REAL, narrow, 0),
            (Float64, "float"): (op.FLOAT, 0, 0),
            (Float64, "double"): (op.DOUBLE, 0, 0),
            (String, "string"): (op.TEXT, 0, 0),
            (Bool, "boolean"): (op.BOOLEAN, 0, 0),
        }
        code = codes.get((type(declared), what))
        return code is not None and self.emit(code[0], field, *code[1:]) >= 0


def _mismatch(name: str, declared: FieldType | None, kind: Any) -> str:
    if declared is None:
        wanted = "a long with logicalType timestamp-micros or timestamp-millis"
        return f"field {name!r} is {type_words(kind)}; it must be {wanted}"
    return f"field {name!r} is {type_words(kind)}; it must be {type(declared).__name__}"


def _some(names: list[str]) -> str:
    shown = ", ".join(name[:40] for name in names[:12])
    return f"{shown}, …" if len(names) > 12 else shown or "no fields"
