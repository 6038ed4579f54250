"""Tables of events to Avro messages, and the schema a declaration has."""

import json
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headrace.errors import ConfigError
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Bool, FieldType, Float64, Int64, String
from streams.formats import avro_writer_kernels as kernels
from streams.formats.decode import label_fields

__all__ = ["AvroWriter", "declared_schema"]

_TYPES = {Int64: "long", Float64: "double", String: "string", Bool: "boolean"}
_KINDS = {Int64: kernels.WHOLE, Float64: kernels.BITS, String: kernels.TEXT, Bool: kernels.TRUTH}
_ARRAYS = {Int64: pa.int64(), Float64: pa.float64(), String: pa.large_string(), Bool: pa.bool_()}
_TIME = {"type": "long", "logicalType": "timestamp-micros"}


def declared_schema(topic: EventStream | LabelStream) -> str:
    """The schema of a stream's events, or of labels, as JSON.

    >>> stream = EventStream("tx", key="card", time="at", id="tx", schema={"card": String, "eur": Float64})
    >>> [field["name"] for field in json.loads(declared_schema(stream))["fields"]]
    ['card', 'eur', 'tx', 'at']
    """
    fields = [{"name": name, "type": _TIME} if kind is None else _field(name, kind) for name, kind in _fields(topic)]
    return json.dumps({"type": "record", "name": topic.name.replace("-", "_"), "fields": fields})


class AvroWriter:
    """Writes the events of a stream, or labels.

    Args:
        topic: declares them.
        schema_id: of its declared schema in the registry.
    """

    def __init__(self, topic: EventStream | LabelStream, schema_id: int) -> None:
        self._fields = _fields(topic)
        self._head = np.frombuffer(b"\x00" + struct.pack(">I", schema_id), dtype=np.uint8)
        kinds = [kernels.WHOLE if kind is None else _KINDS[type(kind)] for _, kind in self._fields]
        self._kinds = np.array(kinds, dtype=np.uint8)
        self._nullable = np.array([kind is not None and kind.nullable for _, kind in self._fields], dtype=np.bool_)

    def encode(self, rows: pa.Table) -> list[bytes]:
        """One message a row.

        Raises:
            ConfigError: a required field is null.
        """
        fields, n = len(self._fields), rows.num_rows
        cells, spans = np.zeros((fields, n), dtype=np.int64), np.zeros((fields, n), dtype=np.int64)
        nulls = np.zeros((fields, n), dtype=np.bool_)
        texts: list[NDArray[np.uint8]] = []
        for f, (name, kind) in enumerate(self._fields):
            wanted = pa.timestamp("us", tz="UTC") if kind is None else _ARRAYS[type(kind)]
            array = rows[name].cast(wanted).combine_chunks()
            if array.null_count:
                if not self._nullable[f]:
                    raise ConfigError(f"field {name!r} is null in some rows", hint="declare it nullable, or fill it")
                nulls[f] = array.is_null().to_numpy(zero_copy_only=False)
            if isinstance(kind, String):
                cells[f], spans[f] = _texts(array, texts)
            else:
                cells[f] = _numbers(array, kind)
        joined = np.concatenate([np.empty(0, dtype=np.uint8), *texts])
        size = n * (len(self._head) + fields * kernels.MOST_FIELD_BYTES) + int(spans.sum())
        out, bounds = np.empty(size, dtype=np.uint8), np.zeros(n + 1, dtype=np.int64)
        kernels.write_records(self._head, self._kinds, self._nullable, cells, spans, nulls, joined, out, bounds)
        written, ends = out[: bounds[-1]].tobytes(), bounds.tolist()
        return [written[start:end] for start, end in pairwise(ends)]


def _fields(topic: EventStream | LabelStream) -> list[tuple[str, FieldType | None]]:
    """Names and types; None is the time."""
    if isinstance(topic, LabelStream):
        return [*label_fields(topic)[0].items()]
    return [*topic.published.items(), (topic.time, None)]


def _field(name: str, kind: FieldType) -> dict[str, Any]:
    written = _TYPES[type(kind)]
    return (
        {"name": name, "type": ["null", written], "default": None} if kind.nullable else {"name": name, "type": written}
    )


def _numbers(array: Any, kind: FieldType | None) -> NDArray[np.int64]:
    if kind is None:
        array = array.cast(pa.int64())
    filled = pc.fill_null(array, pa.scalar(False if isinstance(kind, Bool) else 0, array.type))
    values: NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return values.view(np.int64) if isinstance(kind, Float64) else values.astype(np.int64)


def _texts(array: Any, texts: list[NDArray[np.uint8]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and sizes within all texts so far; appends the bytes of these."""
    _, bounds, data = array.buffers()
    ends = np.frombuffer(bounds, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    before = sum(map(len, texts))
    texts.append(np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8))
    return ends[:-1] + before, np.diff(ends)
