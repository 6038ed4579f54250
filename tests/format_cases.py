"""The same events in every format: a declaration, events of every kind, writers by other people's libraries."""

import io
import json
import math
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from headrace.spec.types import Bool, Float64, Int64, String
from streams.formats.arrow_decoder import ArrowDecoder
from streams.formats.avro_decoder import AvroDecoder
from streams.formats.decode import BatchDecoder, Decoded, Decoder
from streams.messages.payloads import Payloads
from streams.schemas.schema_registry import WriterSchema

__all__ = [
    "ARRIVAL_US",
    "SCHEMA",
    "Schemas",
    "arrow_decoder",
    "arrow_message",
    "as_json",
    "avro_decoder",
    "avro_message",
    "events",
    "json_decoder",
    "outcomes",
    "plain_avro",
    "same",
]

ARRIVAL_US = 1_600_000_000_000_000
SCHEMA = {
    "id": Int64(),
    "card": String(max_bytes=12),
    "amount": Float64(resolution=0.01),
    "fee": Float64(nullable=True),
    "online": Bool(),
    "tries": Int64(nullable=True),
    "note": String(max_bytes=8, nullable=True),
}
_BOUNDS: dict[str, Any] = {"time": "at", "earliest_us": 631_152_000_000_000, "future_us": 3_600_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Schemas:
    """A registry of what the test put there."""

    def __init__(self, schemas: Mapping[int, Any]) -> None:
        self._schemas = schemas
        self.asked = 0

    def schema(self, schema_id: int) -> WriterSchema | None:
        self.asked += 1
        found = self._schemas.get(schema_id)
        return WriterSchema("AVRO", json.dumps(found)) if found is not None else None

    def register(self, subject: str, text: str) -> int:
        raise AssertionError("nobody registers here")


def json_decoder() -> Decoder:
    """The oldest decoder; what it makes of an event is what all must make of it."""
    return Decoder(SCHEMA, **_BOUNDS)


def avro_decoder(*schemas: Any) -> AvroDecoder:
    """Knows the schemas under 1, 2 …"""
    return AvroDecoder(SCHEMA, Schemas(dict(enumerate(schemas, 1))), **_BOUNDS)


def arrow_decoder() -> ArrowDecoder:
    return ArrowDecoder(SCHEMA, **_BOUNDS)


def plain_avro() -> dict[str, Any]:
    """The obvious schema of the events."""
    return {
        "type": "record",
        "name": "Sale",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "card", "type": "string"},
            {"name": "amount", "type": "double"},
            {"name": "fee", "type": ["null", "double"]},
            {"name": "online", "type": "boolean"},
            {"name": "tries", "type": ["null", "long"]},
            {"name": "note", "type": ["null", "string"]},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        ],
    }


def avro_message(schema: Any, event: Mapping[str, Any], schema_id: int = 1) -> bytes:
    """A record as Confluent's serializers write it."""
    out = io.BytesIO(b"\x00" + struct.pack(">I", schema_id))
    out.seek(5)
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), dict(event))
    return out.getvalue()


def arrow_message(batches: Sequence[pa.RecordBatch], **options: Any) -> bytes:
    """An IPC stream of one message."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        for batch in batches:
            stream.write_batch(batch)
    message: bytes = sink.getvalue().to_pybytes()
    return message


def outcomes(decoder: BatchDecoder, messages: Sequence[bytes]) -> list[list[dict[str, Any] | str]]:
    """For each message, what became of its events: values, or a reason for each refusal."""
    decoded: Decoded = decoder.decode(Payloads.of(messages), np.full(len(messages), ARRIVAL_US))
    found: list[list[dict[str, Any] | str]] = [[] for _ in messages]
    for position, message in enumerate(decoded.rows.tolist()):
        values = {}
        for name, column in decoded.columns.items():
            null = name in decoded.nulls and bool(decoded.nulls[name][position])
            values[name] = None if null else column[position].item() if column.dtype != object else column[position]
        found[message].append(values)
    for refusal in decoded.refused:
        found[refusal.row] += [refusal.reason] * refusal.events
    return found


def as_json(event: Mapping[str, Any]) -> bytes:
    """An event as a JSON producer writes it; instants as microseconds."""
    plain = {
        name: _micros(value) if isinstance(value, datetime) else float(value) if isinstance(value, Decimal) else value
        for name, value in event.items()
    }
    return json.dumps(plain).encode()


def same(left: object, right: object) -> bool:
    """Equal values of equal types, the sign of zero included."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    return left == right and type(left) is type(right)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


_texts = st.text(max_size=9)
_instants = st.one_of(
    st.integers(ARRIVAL_US - 10**15, ARRIVAL_US + 3_600_000_000),
    st.integers(ARRIVAL_US - 10**15, ARRIVAL_US + 3_600_000_000),
    st.integers(-(10**15), ARRIVAL_US + 10**13),
)
_wholes = st.one_of(st.integers(-9, 9), st.integers(-(2**63), 2**63 - 1))
_reals = st.one_of(st.floats(-1e6, 1e6), st.floats(), st.just(-0.0))


@st.composite
def events(draw: st.DrawFn, time_step_us: int = 1) -> dict[str, Any]:
    """An event; most are right, some hold what no event may hold."""
    return {
        "id": draw(_wholes),
        "card": draw(_texts),
        "amount": draw(_reals),
        "fee": draw(st.one_of(st.none(), _reals)),
        "online": draw(st.booleans()),
        "tries": draw(st.one_of(st.none(), _wholes)),
        "note": draw(st.one_of(st.none(), _texts)),
        "at": _EPOCH + timedelta(microseconds=draw(_instants) // time_step_us * time_step_us),
    }
