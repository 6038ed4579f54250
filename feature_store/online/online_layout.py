"""Bytes of an online row: Feast's own hash fields, and ours beside them. The readable reference; no I/O.

One Redis hash holds every view of one entity key:

    key            u32 1, u32 2, u32 len, join key name, u32 type, u32 len, value, project name   (Feast, version 3)
    mmh3 of        Feast ``Value`` of one feature, empty when null
    "<view>:<feature>"
    _ts:<view>     google.protobuf.Timestamp of the row's ``valid_from``
    _hr:<view>     ours, the row; little-endian 64-bit words:
                     0      format u8, flags u8, cells u16, inputs u16, lifetime cells u16
                     1      definition (fingerprint of the view), so that a row of another definition is no row
                     2      version: offset in the keyed log
                     3, 4   valid_from, valid_until (microseconds; 2**63-1 is never)
                     5      watermark (microseconds)
                     6…     cells of the values (feature_store.row_values), float64, NaN is null
    _hs:<view>     ours, its state (feature_store.online.state_layout): lifetime cells, and the events a window may
                   still need; behind it the view's sketches (feature_store.sketch_layout).
                   Apart, because who takes a row as it is stored needs none of it, and it is far longer.

Feast ignores fields it did not ask for, so both kinds of reader see one row, written at once. Functions here take both
our fields as one, the row before its state.
Layout of Feast: ``feast/infra/key_encoding_utils.py``, ``feast/infra/online_stores/redis.py`` of 0.67.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import mmh3
import numpy as np

from feature_store.online.state_layout import decode_state, encode_state
from headrace.contracts.redis_keys import ROW_FIELD_PREFIX, STATE_FIELD_PREFIX
from headrace.errors import IntegrityError

__all__ = [
    "HEADER_WORDS",
    "ROW_FORMAT",
    "StoredRow",
    "decode_row",
    "decode_timestamp",
    "decode_value",
    "encode_row",
    "encode_timestamp",
    "encode_value",
    "entity_key",
    "entity_key_parts",
    "feature_field",
    "row_field",
    "row_head",
    "state_field",
    "timestamp_field",
]

ROW_FORMAT = 3
HEADER_WORDS = 6
WITHOUT_STATE = 1
"""Flag: the events were too many (plan.MAX_STATE_EVENTS) to be stored along."""

_STRING, _INT64 = 2, 4  # feast.types.Value_pb2.ValueType
_TAG_INT64, _TAG_DOUBLE, _TAG_DOUBLES = 0x20, 0x29, 0x7A  # field number << 3 | wire type of feast.types.Value
_TAG_PACKED = 0x0A
_HEAD = struct.Struct("<BBHHH")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredRow:
    """Content of ``_hr:<view>`` and ``_hs:<view>``."""

    definition: int
    version: int
    valid_from_us: int
    valid_until_us: int
    watermark_us: int
    values: np.ndarray
    """(W,) float64, NaN is null."""
    times_us: np.ndarray | None
    """(n,) int64 in the order (time, id); None when the events were too many to be stored."""
    ids: np.ndarray | None
    """(n,) int64."""
    inputs: np.ndarray | None
    """(I, n) int64, each the fixed-point value or the null sentinel."""
    base: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """(C,) int64, lifetime cells before those events."""
    sketches: bytes = b""
    """Sketches before those events, as sketch_layout encodes them."""


def entity_key_parts(join_key: str, *, text: bool, project: str) -> tuple[bytes, bytes]:
    """What stands in a hash key before the length-prefixed value, and after it.

    Args:
        join_key: name of the entity.
        text: whether its keys are texts; integers otherwise.
        project: Feast's project name.
    """
    name = join_key.encode()
    head = struct.pack("<III", 1, _STRING, len(name)) + name + struct.pack("<I", _STRING if text else _INT64)
    return head, project.encode()


def entity_key(join_key: str, key: int | str, project: str) -> bytes:
    """Hash key of one entity.

    >>> entity_key("user_id", 610, "proj").hex(" ", -4)
    '01000000 02000000 07000000 75736572 5f696404 00000008 00000062 02000000 00000070 726f6a'
    """
    value = key.encode() if isinstance(key, str) else struct.pack("<q", key)
    head, tail = entity_key_parts(join_key, text=isinstance(key, str), project=project)
    return head + struct.pack("<I", len(value)) + value + tail


def feature_field(view: str, feature: str) -> bytes:
    """Hash field of one feature: murmur3 of its reference, four bytes."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    return b"_ts:" + view.encode()


def row_field(view: str) -> bytes:
    """Our field with the header and the values."""
    return ROW_FIELD_PREFIX + view.encode()


def state_field(view: str) -> bytes:
    """Our field with what a reader needs to move the row in time."""
    return STATE_FIELD_PREFIX + view.encode()


def encode_timestamp(instant_us: int) -> bytes:
    """``google.protobuf.Timestamp``; fields that are 0 are left out.

    >>> encode_timestamp(1_000_001).hex()
    '080110e807'
    """
    seconds, micros = divmod(instant_us, 1_000_000)
    text = b"\x08" + _varint(seconds) if seconds else b""
    return text + (b"\x10" + _varint(micros * 1000) if micros else b"")


def decode_timestamp(data: bytes) -> int:
    """Microseconds of a ``google.protobuf.Timestamp``.

    Raises:
        IntegrityError: the bytes are none.
    """
    amounts, position = {0x08: 0, 0x10: 0}, 0
    while position < len(data):
        tag = data[position]
        if tag not in amounts:
            raise IntegrityError(f"{data.hex()} is no timestamp")
        amounts[tag], position = _read_varint(data, position + 1)
    return amounts[0x08] * 1_000_000 + amounts[0x10] // 1000


def encode_value(value: float | Sequence[float] | None, *, is_int: bool) -> bytes:
    """Feast ``Value`` of an Int64, Float64 or Float64List feature; zeros are written, null is empty.

    >>> encode_value(300.0, is_int=True).hex(), encode_value(0.0, is_int=False).hex(), encode_value(None, is_int=True)
    ('20ac02', '290000000000000000', b'')
    >>> encode_value([1.0], is_int=False).hex(), encode_value([], is_int=False).hex()
    ('7a0a0a08000000000000f03f', '7a00')
    """
    if isinstance(value, Sequence):
        packed = struct.pack(f"<{len(value)}d", *value)
        items = bytes([_TAG_PACKED]) + _varint(len(packed)) + packed if value else b""
        return bytes([_TAG_DOUBLES]) + _varint(len(items)) + items
    if value is None or value != value:  # NaN is null
        return b""
    if is_int:
        return bytes([_TAG_INT64]) + _varint(int(value))
    return bytes([_TAG_DOUBLE]) + struct.pack("<d", value)


def decode_value(data: bytes | None) -> int | float | list[float] | None:
    """Number, or numbers, of a Feast ``Value``; absent and empty are null.

    Raises:
        IntegrityError: a value of another type.
    """
    if not data:
        return None
    if data[0] == _TAG_INT64:
        return _read_varint(data, 1)[0]
    if data[0] == _TAG_DOUBLE and len(data) == 9:
        return float(struct.unpack_from("<d", data, 1)[0])
    if data[0] == _TAG_DOUBLES:
        size, place = _read_varint(data, 1)
        if size == 0:
            return []
        if place + size == len(data) and data[place] == _TAG_PACKED:
            size, place = _read_varint(data, place + 1)
            if place + size == len(data) and size % 8 == 0:
                return list(struct.unpack(f"<{size // 8}d", data[place:]))
    raise IntegrityError(
        f"{data.hex()} is no number, nor a list of them", hint="something else writes this view online"
    )


def row_head(*, cells: int, inputs: int, base: int, with_state: bool) -> int:
    """First word of our field."""
    packed = _HEAD.pack(ROW_FORMAT, 0 if with_state else WITHOUT_STATE, cells, inputs, base)
    return int.from_bytes(packed, "little", signed=True)


def encode_row(row: StoredRow) -> bytes:
    """Bytes of our two fields, one after the other; the second begins at ``8 * (HEADER_WORDS + cells)``."""
    inputs = 0 if row.inputs is None else len(row.inputs)
    with_state = row.times_us is not None
    base = len(row.base) if with_state else 0
    head = row_head(cells=len(row.values), inputs=inputs, base=base, with_state=with_state)
    words = [head, row.definition, row.version, row.valid_from_us, row.valid_until_us, row.watermark_us]
    parts = [np.array(words, "<i8").tobytes(), row.values.astype("<f8").tobytes()]
    if row.times_us is not None and row.ids is not None and row.inputs is not None:
        parts += [encode_state(row.times_us, row.ids, row.inputs, row.base), row.sketches]
    return b"".join(parts)


def decode_row(data: bytes) -> StoredRow:
    """Read our two fields, given as one; the arrays are views of ``data``.

    Raises:
        IntegrityError: cut off, or of a format this version does not know.
    """
    if len(data) < 8 * HEADER_WORDS or len(data) % 8:
        raise IntegrityError(f"online row of {len(data)} bytes is cut off")
    layout, flags, cells, inputs, base = _HEAD.unpack_from(data)
    if layout != ROW_FORMAT:
        raise IntegrityError(
            f"online row has format {layout}; this version reads {ROW_FORMAT}", hint="upgrade this process"
        )
    words = np.frombuffer(data, "<i8")
    if len(words) < HEADER_WORDS + cells:
        raise IntegrityError(f"online row of {len(data)} bytes is cut off")
    times, ids, columns, before, behind = None, None, None, np.empty(0, np.int64), b""
    if not flags & WITHOUT_STATE:
        state = data[8 * (HEADER_WORDS + cells) :]
        times, ids, columns, before = decode_state(state, inputs, base)
        behind = state[len(encode_state(times, ids, columns, before)) :]
    return StoredRow(
        definition=int(words[1]),
        version=int(words[2]),
        valid_from_us=int(words[3]),
        valid_until_us=int(words[4]),
        watermark_us=int(words[5]),
        values=words[HEADER_WORDS : HEADER_WORDS + cells].view("<f8"),
        base=before,
        times_us=times,
        ids=ids,
        inputs=columns,
        sketches=behind,
    )


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number, shift = 0, 0
    while shift < 70 and position < len(data):
        byte = data[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            number &= (1 << 64) - 1
            return (number - (1 << 64) if number >> 63 else number), position
    raise IntegrityError(f"{data.hex()} ends in the middle of a number")
