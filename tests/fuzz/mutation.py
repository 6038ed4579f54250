"""Messages nobody means to send: good ones changed in the ways that break parsers."""

import struct
from collections.abc import Sequence

import numpy as np

__all__ = ["mutate"]

_WHOLES = [0, 1, -1, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)]
_PIECES = [
    b"\xff" * 9 + b"\x01",
    b"\xfe" * 9 + b"\x01",
    b"\x80" * 10,
    b"\x80" * 9 + b"\x02",
    b"\x01\x01",
    b"null",
    b"1e999",
    b"-0.0",
    b"9" * 30,
    b"\\ud800",
    b"\xed\xa0\x80",
    b'"',
    b"{",
    b"[",
    b"}",
    b",",
    b"\x00",
    b"ARROW1",
    b"\xff\xff\xff\xff\x00\x00\x00\x00",
]


def mutate(rng: np.random.Generator, good: Sequence[bytes]) -> bytes:
    """One input: random bytes, a good message, or one that was good."""
    kind = int(rng.integers(18))
    if kind == 0:
        return rng.bytes(int(rng.integers(1, 200)))
    message = bytearray(good[int(rng.integers(len(good)))])
    if kind == 1:
        return bytes(message)
    if kind == 2:
        return bytes(message[: int(rng.integers(1, len(message) + 1))])
    if kind == 3:
        other = good[int(rng.integers(len(good)))]
        return bytes(message[: int(rng.integers(1, len(message)))]) + other[int(rng.integers(len(other))) :]
    if kind == 4:
        start, size = int(rng.integers(len(message))), int(rng.integers(1, 40))
        del message[start : start + size]
        return bytes(message) or b"\x00"
    if kind == 5:
        start, times = int(rng.integers(len(message))), int(rng.integers(2, 2_000))
        piece = bytes(message[start : start + int(rng.integers(1, 9))])
        return bytes(message[:start]) + (piece * times)[:60_000] + bytes(message[start:])
    if kind == 6:
        return bytes(message[: int(rng.integers(1, min(len(message), 9) + 1))]) + rng.bytes(int(rng.integers(60)))
    for _ in range(int(rng.geometric(0.6))):
        _change(rng, message)
    return bytes(message)


def _change(rng: np.random.Generator, message: bytearray) -> None:
    place = int(rng.integers(len(message)))
    kind = int(rng.integers(8))
    if kind > 4:
        message[place] ^= 1 << int(rng.integers(8))
    elif kind < 2:
        message[place] = int(rng.integers(256))
    elif kind == 2:
        whole = _WHOLES[int(rng.integers(len(_WHOLES)))] + int(rng.integers(-2, 3))
        size = int(rng.choice([2, 4, 8]))
        message[place : place + size] = struct.pack("<q", (whole + 2**63) % 2**64 - 2**63)[:size]
    elif kind == 3:
        message[place:place] = _PIECES[int(rng.integers(len(_PIECES)))]
    else:
        piece = _PIECES[int(rng.integers(len(_PIECES)))]
        message[place : place + len(piece)] = piece
