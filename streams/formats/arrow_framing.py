"""What an Arrow IPC stream says of itself, read before Arrow reads it.

A body may be compressed, and then its size stands in the body: a message of a kilobyte can ask for any amount of
memory. Arrow's Python interface has no limit for that, so the flatbuffers at the head of each part are looked at first.

    marker FFFFFFFF │ size │ flatbuffer Message{version, header type, header, body length} │ padding │ body
"""

import struct
from itertools import count
from typing import NamedTuple

__all__ = ["Framing", "FramingError", "TooManyPartsError", "check_stream"]

_MARKER = 0xFFFFFFFF
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
"""Arrow's numbers of header types."""
_COMPRESSION = 3
"""Place of ``compression`` among the fields of a RecordBatch."""
_U16, _I32, _U32, _I64 = (struct.Struct(code) for code in ("<H", "<i", "<I", "<q"))


class FramingError(Exception):
    """The bytes are no stream that is read here; the text says why."""


class TooManyPartsError(FramingError):
    """It has more schemas, dictionaries and batches than it may."""


class Framing(NamedTuple):
    """The parts of a stream."""

    schema: bytes
    """As it stands there."""
    end: int
    """Where the last part ends, before the mark of the end."""
    batches: int
    dictionaries: int
    rows: int
    """As claimed."""


def check_stream(message: bytes, usual: bytes = b"", *, most_parts: int) -> Framing:
    """Walk over the parts of a stream.

    Args:
        message: the stream.
        usual: a schema given by an earlier call; a message that begins with it is walked over faster.
        most_parts: schema, dictionaries and batches it may have; the mark of its end is none of them.

    Raises:
        TooManyPartsError: it has more.
        FramingError: it ends early, or has a compressed body.
    """
    schema = usual if usual and message.startswith(usual) else b""
    at, end = len(schema), len(message)
    batches, dictionaries, rows = 0, 0, 0
    try:
        for number in count(int(bool(schema))):
            start = at
            if at == end and number:
                return Framing(schema, start, batches, dictionaries, rows)
            size = _U32.unpack_from(message, at)[0]
            at += 4
            if size == _MARKER:
                size = _U32.unpack_from(message, at)[0]
                at += 4
            if size == 0 and number:
                if at != end:
                    raise FramingError(f"it ends at byte {at}, the message does not")
                return Framing(schema, start, batches, dictionaries, rows)
            if number >= most_parts:
                raise TooManyPartsError(f"more than {most_parts} parts")
            if size > end - at:
                raise FramingError(f"it ends at byte {end}, inside its part {number}")
            kind, claimed, body = _part(message[at : at + size])
            if (kind == _SCHEMA) != (number == 0):
                raise FramingError("it begins without its schema, or has a second one")
            if not 0 <= body <= end - at - size:
                raise FramingError(f"it ends at byte {end}, inside the body of its part {number}")
            if claimed < 0:
                raise FramingError(f"its part {number} claims {claimed} rows")
            batches, dictionaries = batches + (kind == _BATCH), dictionaries + (kind == _DICTIONARY)
            rows += claimed
            at += size + body
            schema = schema or message[:at]
    except struct.error as error:
        raise FramingError(f"no Arrow part at byte {at}") from error
    raise AssertionError("a message has an end")


def _part(head: bytes) -> tuple[int, int, int]:
    """(header type, rows, bytes of the body) of one part."""
    table = _I32.unpack_from(head, 0)[0]
    kind_at, header_at, body_at = _slot(head, table, 1), _slot(head, table, 2), _slot(head, table, 3)
    kind = head[kind_at] if 0 < kind_at < len(head) else 0
    body = _I64.unpack_from(head, body_at)[0] if body_at else 0
    if kind == _SCHEMA:
        return kind, 0, body
    if kind not in (_DICTIONARY, _BATCH) or not header_at:
        raise FramingError("it has a part that is neither schema, dictionary nor batch")
    batch = header_at + _offset(head, header_at)
    if kind == _DICTIONARY:
        data_at = _slot(head, batch, 1)
        batch = data_at + _offset(head, data_at)
    if _slot(head, batch, _COMPRESSION):
        raise FramingError("its bodies are compressed; let Kafka compress")
    rows_at = _slot(head, batch, 0)
    rows = _I64.unpack_from(head, rows_at)[0] if rows_at and kind == _BATCH else 0
    return kind, rows, body


def _offset(head: bytes, at: int) -> int:
    found: int = _U32.unpack_from(head, at)[0]
    return found


def _slot(head: bytes, table: int, place: int) -> int:
    """Where a field of a flatbuffer table stands; 0 when it is absent."""
    if table < 0:
        raise struct.error("before the beginning")
    vtable = table - _I32.unpack_from(head, table)[0]
    if vtable < 0:
        raise struct.error("before the beginning")
    if 4 + 2 * place >= _U16.unpack_from(head, vtable)[0]:
        return 0
    distance: int = _U16.unpack_from(head, vtable + 4 + 2 * place)[0]
    return table + distance if distance else 0
