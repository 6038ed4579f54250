"""The state that travels with an online row, as bytes. The readable reference of feature_store.online.packing_kernels.

    word        events n (u32), and how many last decimal places of the times are zero in all of them (u8: 0, 3 or 6)
    words       the view's lifetime cells before these events
    then, unless n is 0:
    bytes       form of each column, times, ids, each input: bytes a value takes (0 to 8), 0x80 beside that where some
                are missing; filled up to whole words
    words       lowest value of each column
    bytes       n values of each column, little-endian, counted from its lowest; where some are missing those are 0 and
                the others one more; filled up to whole words

Cards with times in whole seconds and ids in sequence take 9 bytes an event instead of 24.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from feature_store.plan import MAX_STATE_EVENTS, NULL
from headrace.errors import IntegrityError

__all__ = ["HAS_MISSING", "decode_state", "encode_state"]

HAS_MISSING = 0x80
"""Beside a width: the column has missing values; they are 0, the others count from 1."""

I64 = NDArray[np.int64]


def encode_state(times_us: I64, ids: I64, inputs: I64, base: I64) -> bytes:
    """Bytes of a state.

    Args:
        times_us: (n,) in order.
        ids: (n,)
        inputs: (I, n) NULL where missing.
        base: (C,) lifetime cells before these events.
    """
    times = [int(t) for t in times_us]
    zeros = next(places for places in (6, 3, 0) if all((t - times[0]) % 10**places == 0 for t in times)) if times else 0
    head = struct.pack("<IB3x", len(times), zeros) + base.astype("<i8").tobytes()
    if not times:
        return head
    forms, lows, codes = bytearray(), [], b""
    for column, step in [(times, 10**zeros), (ids.tolist(), 1), *((line, 1) for line in inputs.tolist())]:
        there = [value for value in column if value != NULL]
        low, missing = min(there, default=0), len(there) < len(column)
        numbers = [0 if value == NULL else (value - low) // step + missing for value in column]
        width = (max(numbers).bit_length() + 7) // 8
        forms.append(width | (HAS_MISSING if missing else 0))
        lows.append(low)
        codes += b"".join(number.to_bytes(width, "little") for number in numbers)
    return head + _filled(bytes(forms)) + struct.pack(f"<{len(lows)}q", *lows) + _filled(codes)


def decode_state(data: bytes, inputs: int, cells: int) -> tuple[I64, I64, I64, I64]:
    """Times, ids, inputs and lifetime cells.

    Args:
        data: bytes of a state.
        inputs: I.
        cells: C.

    Raises:
        IntegrityError: it is cut off, or none.
    """
    try:
        n, zeros = struct.unpack_from("<IB", data)
        if n > MAX_STATE_EVENTS:
            raise struct.error
        base = np.array(struct.unpack_from(f"<{cells}q", data, 8), np.int64)
        columns = np.empty((2 + inputs, n), np.int64)
        if n:
            at = 8 + 8 * cells
            forms = data[at : at + 2 + inputs]
            at += len(_filled(forms))
            lows = struct.unpack_from(f"<{2 + inputs}q", data, at)
            at += 8 * (2 + inputs)
            for column, (form, low) in enumerate(zip(forms, lows, strict=True)):
                width, missing, step = form & ~HAS_MISSING, int(form & HAS_MISSING != 0), 1 if column else 10**zeros
                for k in range(n):
                    code = int.from_bytes(data[at : at + width], "little")
                    columns[column, k] = NULL if missing and code == 0 else low + (code - missing) * step
                    at += width
            if at > len(data):
                raise struct.error
    except (struct.error, ValueError) as error:
        raise IntegrityError(f"the state of an online row, {len(data)} bytes, is cut off") from error
    return columns[0], columns[1], columns[2:], base


def _filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
