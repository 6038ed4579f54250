"""Which decoder a topic needs."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.spec.formats import ArrowBatches, Avro
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import FieldType
from streams.formats.arrow_decoder import ArrowDecoder
from streams.formats.avro_decoder import AvroDecoder
from streams.formats.decode import BatchDecoder, event_decoder, label_decoder, label_fields
from streams.schemas.schema_registry import SchemaRegistry

__all__ = ["stream_decoder"]


def stream_decoder(topic: EventStream | LabelStream, registry: Callable[[], SchemaRegistry]) -> BatchDecoder:
    """Decoder of the topic of a stream or of its labels.

    Args:
        topic: says its format.
        registry: opens the schema registry; called only when the format needs one.
    """
    bounds: dict[str, Any]
    schema: Mapping[str, FieldType]
    if isinstance(topic, LabelStream):
        schema, values = label_fields(topic)
        bounds = {"values": values}
    else:
        schema = topic.schema
        bounds = {"time": topic.time, "earliest_us": topic.earliest_us, "future_us": topic.future_us}
    if isinstance(topic.format, Avro):
        return AvroDecoder(schema, registry(), **bounds)
    if isinstance(topic.format, ArrowBatches):
        return ArrowDecoder(schema, **bounds)
    return label_decoder(topic) if isinstance(topic, LabelStream) else event_decoder(topic)
