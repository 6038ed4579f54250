"""Instructions that kernels lack: read memory at an address, copy it, call a C function.

An array read byte by byte costs a check for a negative index at each of them; an address does not. Whoever uses these
must know that the memory is there: its bounds have to be checked, and its owner kept, outside.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["call", "copy", "load_byte", "load_int", "load_long"]

_LONG = ir.IntType(64)


def _loader(width: int, *, signed: bool = True) -> Any:
    """A function of an address that gives the integer there, wherever it lies."""

    def load(_context: Any, _address: Any) -> Any:
        def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.inttoptr(args[0], ir.IntType(width).as_pointer())
            found = builder.load(place)
            found.align = 1
            if width == 64:
                return found
            return builder.sext(found, _LONG) if signed else builder.zext(found, _LONG)

        return types.int64(types.int64), generate

    return intrinsic(load)


load_byte, load_int, load_long = _loader(8, signed=False), _loader(32), _loader(64)


@intrinsic  # type: ignore[untyped-decorator]
def copy(_context: Any, _target: Any, _source: Any, _size: Any) -> Any:
    """memcpy of addresses."""

    def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        function = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, _LONG])
        to, source = builder.inttoptr(args[0], byte), builder.inttoptr(args[1], byte)
        builder.call(function, [to, source, args[2], ir.Constant(ir.IntType(1), 0)])
        return ir.Constant(_LONG, 0)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def call(_context: Any, _function: Any, _first: Any, _second: Any) -> Any:
    """Call the C function at an address with two pointers; one that takes fewer ignores the rest, on every platform."""

    def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_LONG, [_LONG, _LONG])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2]])

    return types.int64(types.int64, types.int64, types.int64), generate
