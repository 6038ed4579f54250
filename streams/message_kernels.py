"""Kernels that take librdkafka's messages apart where they lie.

A batch is an array of pointers to ``rd_kafka_message_t`` (rdkafka.h, 64 bits):

    0 err    8 topic    16 partition    24 payload    32 len    40 key    48 key_len    56 offset

Two passes: :func:`measure` finds out which partitions there are and how much room each needs, :func:`move` copies every
message behind the others of its partition and gives it back to the library.

Legend of shapes: n messages, P partitions of the batch (arrays have room for more).
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel

__all__ = ["EMPTY", "FAILED", "measure", "move", "release"]

FILLED, EMPTY, END, FAILED = 0, 1, 2, 3
"""Marks: a message with a value, one without, the end of a partition, another error."""
_END_OF_PARTITION = -191
_NO_TIME, _NO_VALUE, _NO_KEY = 0, 1, 2
_ERR, _TOPIC, _PARTITION, _PAYLOAD, _LEN, _KEY, _KEY_LEN, _OFFSET = 0, 8, 16, 24, 32, 40, 48, 56

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

_LONG = ir.IntType(64)


def _reader(width: int) -> Any:
    """A function of an address that gives the signed integer there."""

    def read(_context: Any, _address: Any) -> Any:
        def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.inttoptr(args[0], ir.IntType(width).as_pointer())
            found = builder.load(place)
            found.align = 1
            return found if width == 64 else builder.sext(found, _LONG)

        return types.int64(types.int64), generate

    return intrinsic(read)


_read_int, _read_long = _reader(32), _reader(64)


@intrinsic  # type: ignore[untyped-decorator]
def _copy(_context: Any, _target: Any, _source: Any, _size: Any) -> Any:
    """memcpy of addresses."""

    def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        function = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, _LONG])
        to, source = builder.inttoptr(args[0], byte), builder.inttoptr(args[1], byte)
        builder.call(function, [to, source, args[2], ir.Constant(ir.IntType(1), 0)])
        return ir.Constant(_LONG, 0)

    return types.int64(types.int64, types.int64, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def _call(_context: Any, _function: Any, _first: Any, _second: Any) -> Any:
    """Call the C function at an address with two pointers; one that takes fewer ignores the rest, on every platform."""

    def generate(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_LONG, [_LONG, _LONG])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1], args[2]])

    return types.int64(types.int64, types.int64, types.int64), generate


@kernel
def measure(
    messages_n: Longs,
    count: int,
    marks_n: Bytes,
    places_n: Ints,
    topics_P: Longs,
    partitions_P: Ints,
    rows_P: Longs,
    value_bytes_P: Longs,
    key_bytes_P: Longs,
    at_end_P: Bytes,
) -> tuple[int, int, int]:
    """Find the partitions of a batch.

    Args:
        messages_n: addresses of messages.
        count: how many there are; the arrays have room for more.
        marks_n: out: FILLED, EMPTY, END or FAILED.
        places_n: out: which of the partitions found it is of; nothing for one that failed.
        topics_P: out: address of the topic.
        partitions_P: out: its number.
        rows_P: out: messages, ends not counted.
        value_bytes_P: out: of their values.
        key_bytes_P: out: of their keys.
        at_end_P: out: whether the last one is an end.

    Returns:
        Partitions found, failed messages, messages with an empty value.
    """
    found, failed, empty, place = 0, 0, 0, 0
    for i in range(count):
        message = messages_n[i]
        error = _read_int(message + _ERR)
        if error != 0 and error != _END_OF_PARTITION:
            marks_n[i] = FAILED
            failed += 1
            continue
        topic, partition = _read_long(message + _TOPIC), _read_int(message + _PARTITION)
        # Messages come in long runs of one partition: the last one is nearly always right.
        if place >= found or topics_P[place] != topic or partitions_P[place] != partition:
            place = 0
            while place < found and (topics_P[place] != topic or partitions_P[place] != partition):
                place += 1
            if place == found:
                topics_P[place], partitions_P[place] = topic, partition
                rows_P[place] = value_bytes_P[place] = key_bytes_P[place] = 0
                found += 1
        places_n[i] = place
        if error != 0:
            marks_n[i] = END
            at_end_P[place] = 1
            continue
        size = _read_long(message + _LEN)
        marks_n[i] = FILLED if size > 0 else EMPTY
        at_end_P[place] = 0
        rows_P[place] += 1
        value_bytes_P[place] += size
        key_bytes_P[place] += _read_long(message + _KEY_LEN)
        empty += size == 0
    return found, failed, empty


@kernel
def move(
    messages_n: Longs,
    count: int,
    marks_n: Bytes,
    places_n: Ints,
    rows_P: Longs,
    value_ends_P: Longs,
    key_ends_P: Longs,
    now_us: int,
    timestamp: int,
    destroy: int,
    time_kind: Ints,
    values: Bytes,
    value_bounds: Longs,
    keys: Bytes,
    key_bounds: Longs,
    missing: Bytes,
    offsets: Longs,
    arrivals_us: Longs,
) -> None:
    """Copy messages, those of a partition together, and give all of them back.

    The room of partition p in the bounds is one longer than in the other columns, so it begins p places later.

    Args:
        messages_n: addresses of messages.
        count: how many there are.
        marks_n: from :func:`measure`.
        places_n: from :func:`measure`.
        rows_P: where the rows of each partition begin; moved on to where they end.
        value_ends_P: the same for the bytes of its values.
        key_ends_P: the same for the bytes of its keys.
        now_us: arrival of a message without a time.
        timestamp: address of rd_kafka_message_timestamp.
        destroy: address of rd_kafka_message_destroy.
        time_kind: (1,) room for what that function also says.
        values: out.
        value_bounds: out; ends, the first bound of each partition is the caller's.
        keys: out.
        key_bounds: out, as for values.
        missing: out: MessageRun.missing.
        offsets: out.
        arrivals_us: out.
    """
    kind_at, values_at, keys_at = time_kind.ctypes.data, values.ctypes.data, keys.ctypes.data
    for i in range(count):
        message = messages_n[i]
        if marks_n[i] <= EMPTY:
            place = places_n[i]
            row = rows_P[place]
            rows_P[place] = row + 1
            payload, size = _read_long(message + _PAYLOAD), _read_long(message + _LEN)
            key, key_size = _read_long(message + _KEY), _read_long(message + _KEY_LEN)
            if size > 0:
                _copy(values_at + value_ends_P[place], payload, size)
            if key_size > 0:
                _copy(keys_at + key_ends_P[place], key, key_size)
            value_ends_P[place] += size
            key_ends_P[place] += key_size
            value_bounds[row + place + 1] = value_ends_P[place]
            key_bounds[row + place + 1] = key_ends_P[place]
            missing[row] = (_NO_VALUE if payload == 0 else 0) | (_NO_KEY if key == 0 else 0)
            offsets[row] = _read_long(message + _OFFSET)
            stamp_ms = _call(timestamp, message, kind_at)
            arrivals_us[row] = now_us if time_kind[0] == _NO_TIME else stamp_ms * 1000
        _call(destroy, message, 0)


@kernel
def release(messages_n: Longs, count: int, destroy: int) -> None:
    """Give messages back without looking at them."""
    for i in range(count):
        _call(destroy, messages_n[i], 0)
