"""A batch of feature rows as the bytes of Redis commands, without a Python object per row or value.

Same bytes as :mod:`feature_store.online.online_layout`, which is the readable reference; a property test compares the
two.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.kernels import shape_of
from feature_store.online.online_layout import (
    HEADER_WORDS,
    entity_key_parts,
    feature_field,
    row_field,
    row_head,
    state_field,
    timestamp_field,
)
from feature_store.online.packing_kernels import pack_state, packed_size
from feature_store.plan import ViewPlan
from feature_store.rows import RowBatch

__all__ = ["CHUNK_BYTES", "CHUNK_ROWS", "Chunk", "RowEncoder"]

CHUNK_ROWS = 128
"""Rows of one command: Redis answers nobody else meanwhile, so this bounds a reader's wait to about a millisecond. With
four times as many their arguments leave its core's cache, and a row takes it a quarter longer."""

CHUNK_BYTES = 1 << 20
"""Size from which a command is closed early. One row may be larger than that, by plan.MAX_STATE_EVENTS."""

_Bytes = NDArray[np.uint8]
_Words = NDArray[np.int64]

_NAN_BITS = 0x7FF8000000000000
"""Bits of the one NaN that kernels write."""

_DECIMAL = 22  # "$", up to 19 digits, CR LF


@dataclass(frozen=True, slots=True)
class Chunk:
    """One complete command."""

    rows: int
    data: memoryview
    """Valid until the next chunk is asked for."""


class RowEncoder:
    """Encodes batches of one view. Not safe for threads: it keeps one buffer.

    The command is ``EVALSHA <script> <n> key… <argument>… <hash field>… row…`` where a row's values stand in the order
    of the hash fields: our row, every feature, Feast's timestamp, our state.
    """

    def __init__(self, plan: ViewPlan, project: str) -> None:
        view = plan.view
        text = plan.has_text_keys
        head, tail = entity_key_parts(view.entity, text=text, project=project)
        self._key_head, self._key_tail = np.frombuffer(head, np.uint8), np.frombuffer(tail, np.uint8)
        self._text = text
        # Of each feature: its first cell, how many it has, and whether it is a list or whole numbers.
        self._spans = np.array(
            [(f.slot, f.feature.width, f.feature.is_list, plan.is_int[f.slot]) for f in plan.features], dtype=np.int64
        )
        inputs, shape = len(plan.inputs), shape_of(plan)
        base, cells, features = shape.width - shape.base, plan.width, len(view.features)
        self.definition = int(plan.version, 16)
        self._head = row_head(cells=cells, inputs=inputs, base=base, with_state=True)
        self._bare_head = row_head(cells=cells, inputs=0, base=0, with_state=False)
        # A hash is one piece of memory that Redis looks through from its beginning: what is asked for comes first, and
        # what is long and seldom wanted last.
        self.fields = [row_field(view.name), *(feature_field(view.name, name) for name in view.feature_names)]
        self.fields += [timestamp_field(view.name), state_field(view.name)]
        self._row_bytes = (
            2 * _DECIMAL + len(head) + 4 + len(tail)  # key
            + features * (_DECIMAL + 17)
            + 9 * cells
            + (_DECIMAL + 19)  # timestamp
            + (2 * _DECIMAL + 4 + 8 * (HEADER_WORDS + cells + base))
            + 8 * (6 + 2 * inputs)  # how the events are packed; they take at most what they would otherwise
        )  # fmt: skip
        self._event_bytes = 8 * (2 + inputs)
        self._lows, self._widths = np.zeros(3 + inputs, np.int64), np.zeros(3 + inputs, np.int64)
        self._buffer = np.empty(CHUNK_BYTES + (1 << 16), np.uint8)

    def chunks(self, rows: RowBatch, command: bytes, arguments: list[bytes], *, version: int, watermark_us: int
               ) -> Iterator[Chunk]:  # fmt: skip
        """Commands that write the rows, in order.

        Args:
            rows: one row per key.
            command: words before the number of keys, RESP-encoded.
            arguments: first arguments after the keys.
            version: offset in the keyed log these rows reflect.
            watermark_us: event time the rows are refreshed to.
        """
        key_bytes, key_starts = _key_bytes(rows.keys, text=self._text)
        starts = rows.state_start
        stored = np.where(rows.has_state, np.diff(starts), 0)
        sketches, sketch_starts = _sketch_bytes(rows)
        sizes = self._row_bytes + np.diff(key_starts) + stored * self._event_bytes + np.diff(sketch_starts)
        words = [*arguments, str(len(self.fields)).encode(), *self.fields]
        constants = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        names = len(command.split(b"\r\n")) // 2
        parts = (rows.state_t.reshape(1, -1), rows.state_id.reshape(1, -1), rows.state_inputs, rows.state_base)
        times, ids, state, base = (np.ascontiguousarray(array) for array in parts)
        # Always C order, or each other order would be compiled anew.
        values = np.ascontiguousarray(rows.values)
        valid_from, valid_until = (np.ascontiguousarray(array) for array in (rows.valid_from_us, rows.valid_until_us))
        for first, last in _cut(sizes):
            total = names + 1 + (last - first) + len(words) + (last - first) * len(self.fields)
            opening = b"*%d\r\n%s" % (total, command)
            number = str(last - first).encode()
            opening += b"$%d\r\n%s\r\n" % (len(number), number)
            need = len(opening) + len(constants) + int(sizes[first:last].sum())
            if len(self._buffer) < need:
                self._buffer = np.empty(need, np.uint8)
            end = _encode(
                self._buffer, np.frombuffer(opening, np.uint8), np.frombuffer(constants, np.uint8), first, last,
                self._key_head, self._key_tail, key_bytes, key_starts,
                values, values.view(np.int64), self._spans, valid_from, valid_until,
                rows.has_state, starts, times, ids, state, base, sketches, sketch_starts, self._lows, self._widths,
                self._head, self._bare_head, self.definition, version, watermark_us,
            )  # fmt: skip
            yield Chunk(last - first, self._buffer[:end].data)


def _as_bytes(array: _Words) -> _Bytes:
    # A view with another item size needs a last axis that is not empty.
    return np.ascontiguousarray(array).view(np.uint8) if array.size else np.empty((*array.shape[:-1], 0), np.uint8)


def _key_bytes(keys: NDArray[np.generic], *, text: bool) -> tuple[_Bytes, _Words]:
    if not text:
        return _as_bytes(keys.astype(np.int64, copy=False)), np.arange(len(keys) + 1, dtype=np.int64) * 8
    _, starts, data = pa.array(keys, pa.large_string()).buffers()
    offsets = np.frombuffer(starts, np.int64)[: len(keys) + 1] if len(keys) else np.zeros(1, np.int64)
    return np.frombuffer(data or b"", np.uint8), offsets


def _sketch_bytes(rows: RowBatch) -> tuple[_Bytes, _Words]:
    """What stands behind the states, one behind another, and where each begins."""
    starts = np.zeros(len(rows) + 1, np.int64)
    if not rows.state_sketches:
        return np.empty(0, np.uint8), starts
    kept = [data if has else b"" for data, has in zip(rows.state_sketches, rows.has_state.tolist(), strict=True)]
    np.cumsum([len(data) for data in kept], out=starts[1:])
    return np.frombuffer(b"".join(kept), np.uint8), starts


def _cut(sizes: _Words) -> Iterator[tuple[int, int]]:
    ends = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        limit = CHUNK_BYTES + (int(ends[first - 1]) if first else 0)
        last = int(np.searchsorted(ends, limit, side="right"))
        last = min(max(last, first + 1), first + CHUNK_ROWS, len(sizes))
        yield first, last
        first = last


# The kernels write at ``at`` and return the position after what they wrote.


@kernel
def _put_bytes(out: _Bytes, at: int, data: _Bytes) -> int:
    for i in range(len(data)):
        out[at + i] = data[i]
    return at + len(data)


@kernel
def _put_length(out: _Bytes, at: int, length: int) -> int:
    out[at] = 36  # "$"
    digits, rest = 1, length
    while rest >= 10:
        rest //= 10
        digits += 1
    rest = length
    for i in range(digits):
        out[at + digits - i] = 48 + rest % 10
        rest //= 10
    out[at + digits + 1] = 13
    out[at + digits + 2] = 10
    return at + digits + 3


@kernel
def _put_end(out: _Bytes, at: int) -> int:
    out[at] = 13
    out[at + 1] = 10
    return at + 2


@kernel
def _put_word(out: _Bytes, at: int, word: int) -> int:
    for i in range(8):
        out[at + i] = (word >> (8 * i)) & 0xFF
    return at + 8


@kernel
def _put_varint(out: _Bytes, at: int, number: int) -> int:
    # Ten groups of seven bits hold 64 bits; the shift of a negative number keeps its sign, hence the count.
    for _ in range(10):
        low = number & 0x7F
        number = (number >> 7) & 0x01FFFFFFFFFFFFFF
        if number == 0:
            out[at] = low
            return at + 1
        out[at] = low | 0x80
        at += 1
    return at


@kernel
def _varint_size(number: int) -> int:
    size = 1
    number = (number >> 7) & 0x01FFFFFFFFFFFFFF
    while number != 0:
        number >>= 7
        size += 1
    return size


@kernel
def _put_value(out: _Bytes, at: int, value: float, bits: int, is_int: bool) -> int:
    if value != value:
        return _put_end(out, _put_length(out, at, 0))
    if is_int:
        number = int(value)
        at = _put_length(out, at, 1 + _varint_size(number))
        out[at] = 0x20
        return _put_end(out, _put_varint(out, at + 1, number))
    at = _put_length(out, at, 9)
    out[at] = 0x29
    return _put_end(out, _put_word(out, at + 1, bits))


@kernel
def _put_list(out: _Bytes, at: int, bits: _Words, row: int, first: int, width: int) -> int:
    """A packed DoubleList of the cells that are there."""
    items = 0
    while items < width and bits[row, first + items] != _NAN_BITS:
        items += 1
    size = 8 * items
    inner = 1 + _varint_size(size) + size if items > 0 else 0
    at = _put_length(out, at, 1 + _varint_size(inner) + inner)
    out[at] = 0x7A
    at = _put_varint(out, at + 1, inner)
    if items > 0:
        out[at] = 0x0A
        at = _put_varint(out, at + 1, size)
        for item in range(items):
            at = _put_word(out, at, bits[row, first + item])
    return _put_end(out, at)


@kernel
def _put_timestamp(out: _Bytes, at: int, instant_us: int) -> int:
    seconds = instant_us // 1_000_000
    nanos = (instant_us - seconds * 1_000_000) * 1000
    size = 0
    if seconds != 0:
        size += 1 + _varint_size(seconds)
    if nanos != 0:
        size += 1 + _varint_size(nanos)
    at = _put_length(out, at, size)
    if seconds != 0:
        out[at] = 0x08
        at = _put_varint(out, at + 1, seconds)
    if nanos != 0:
        out[at] = 0x10
        at = _put_varint(out, at + 1, nanos)
    return _put_end(out, at)


@kernel
def _encode(
    out: _Bytes, opening: _Bytes, constants: _Bytes, first: int, last: int,
    key_head: _Bytes, key_tail: _Bytes, key_bytes: _Bytes, key_starts: _Words,
    values: NDArray[np.float64], bits: _Words, spans: _Words, valid_from: _Words, valid_until: _Words,
    has_state: NDArray[np.bool_], starts: _Words, times: _Words, ids: _Words, state: _Words, base: _Words,
    sketches: _Bytes, sketch_starts: _Words,
    lows: _Words, widths: _Words,
    head: int, bare_head: int, definition: int, version: int, watermark: int,
) -> int:  # fmt: skip
    features, cells = len(spans), values.shape[1]
    at = _put_bytes(out, 0, opening)
    for row in range(first, last):
        length = key_starts[row + 1] - key_starts[row]
        at = _put_length(out, at, len(key_head) + 4 + length + len(key_tail))
        at = _put_bytes(out, at, key_head)
        for i in range(4):
            out[at + i] = (length >> (8 * i)) & 0xFF
        at = _put_bytes(out, at + 4, key_bytes[key_starts[row] : key_starts[row + 1]])
        at = _put_end(out, _put_bytes(out, at, key_tail))
    at = _put_bytes(out, at, constants)
    for row in range(first, last):
        with_state = has_state[row]
        at = _put_length(out, at, 8 * (HEADER_WORDS + cells))
        at = _put_word(out, at, head if with_state else bare_head)
        at = _put_word(out, at, definition)
        at = _put_word(out, at, version)
        at = _put_word(out, at, valid_from[row])
        at = _put_word(out, at, valid_until[row])
        at = _put_word(out, at, watermark)
        for cell in range(cells):
            at = _put_word(out, at, bits[row, cell])
        at = _put_end(out, at)
        for f in range(features):
            cell = spans[f, 0]
            if spans[f, 2] != 0:
                at = _put_list(out, at, bits, row, cell, spans[f, 1])
            else:
                at = _put_value(out, at, values[row, cell], bits[row, cell], spans[f, 3] != 0)
        at = _put_timestamp(out, at, valid_from[row])
        low, high, size = starts[row], starts[row + 1], 0
        if with_state:
            size = packed_size(low, high, times, ids, state, base.shape[1], lows, widths)
        behind, behind_end = sketch_starts[row], sketch_starts[row + 1]
        at = _put_length(out, at, size + behind_end - behind)
        if with_state:
            at = pack_state(out, at, low, high, times, ids, state, base, row, lows, widths)
            for k in range(behind, behind_end):
                out[at] = sketches[k]
                at += 1
        at = _put_end(out, at)
    return at
