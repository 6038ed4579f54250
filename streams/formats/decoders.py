"""Which decoder a topic needs."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.config import StreamSettings
from headrace.spec.formats import ArrowBatches, Avro
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import FieldType
from streams.formats.arrow_decoder import ArrowDecoder
from streams.formats.avro_decoder import AvroDecoder
from streams.formats.decode import BatchDecoder, event_decoder, label_decoder, label_fields
from streams.schemas.schema_registry import SchemaRegistry

__all__ = ["stream_decoder"]


def stream_decoder(
    topic: EventStream | LabelStream, registry: Callable[[], SchemaRegistry], bounds: StreamSettings
) -> BatchDecoder:
    """Decoder of the topic of a stream or of its labels.

    Args:
        topic: says its format.
        registry: opens the schema registry; called only when the format needs one.
        bounds: how large and how deep messages may be; the same for everything that reads the topic.
    """
    rules: dict[str, Any]
    schema: Mapping[str, FieldType]
    if isinstance(topic, LabelStream):
        schema, values = label_fields(topic)
        rules = {"values": values, "bounds": bounds}
    else:
        schema = topic.published
        rules = {
            "time": topic.time,
            "earliest_us": topic.earliest_us,
            "future_us": topic.future_us,
            "bounds": bounds,
        }
    if isinstance(topic.format, Avro):
        return AvroDecoder(schema, registry(), **rules)
    if isinstance(topic.format, ArrowBatches):
        return ArrowDecoder(schema, **rules)
    return label_decoder(topic, bounds) if isinstance(topic, LabelStream) else event_decoder(topic, bounds)
