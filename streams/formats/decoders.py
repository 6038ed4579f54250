"""Which decoder a stream needs."""

from collections.abc import Callable

from headrace.spec.formats import ArrowBatches, Avro
from headrace.spec.streams import EventStream
from streams.decode import BatchDecoder, event_decoder
from streams.formats.arrow_decoder import ArrowDecoder
from streams.formats.avro_decoder import AvroDecoder
from streams.schema_registry import SchemaRegistry

__all__ = ["stream_decoder"]


def stream_decoder(stream: EventStream, registry: Callable[[], SchemaRegistry]) -> BatchDecoder:
    """Decoder of a stream's topic.

    Args:
        stream: says its format.
        registry: opens the schema registry; called only when the format needs one.
    """
    if isinstance(stream.format, Avro):
        return AvroDecoder(
            stream.schema,
            registry(),
            time=stream.time,
            earliest_us=stream.earliest_us,
            future_us=stream.future_us,
        )
    if isinstance(stream.format, ArrowBatches):
        return ArrowDecoder(stream.schema, time=stream.time, earliest_us=stream.earliest_us, future_us=stream.future_us)
    return event_decoder(stream)
