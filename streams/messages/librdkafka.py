"""The C library inside confluent-kafka, for what its Python interface does one object at a time.

Its documented functions are called through ctypes. Not documented is where the Python consumer keeps its C handle (the
first field of the object), so the versions are those that were tried. Callbacks of the Python consumer expect to be
reached through its own methods and would end the process here: messages are taken from a queue of their own, through
which nothing calls back.
"""

import ctypes
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numba
from confluent_kafka import KafkaError, cimpl

__all__ = ["Librdkafka", "find_librdkafka"]

_TRIED = (0x020C0000, 0x0210FFFF)
"""Versions 2.12.0 to 2.16: ``rd_kafka_message_t`` is laid out as streams.messages.message_kernels reads it."""
_AT_ONCE = 1_000
_OFFSET = 56
"""Where the offset stands in ``rd_kafka_message_t``."""
_POINTER = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_version": (ctypes.c_int, []),
    "rd_kafka_queue_new": (_POINTER, [_POINTER]),
    "rd_kafka_queue_get_partition": (_POINTER, [_POINTER, ctypes.c_char_p, ctypes.c_int32]),
    "rd_kafka_queue_forward": (None, [_POINTER, _POINTER]),
    "rd_kafka_queue_destroy": (None, [_POINTER]),
    "rd_kafka_consume_batch_queue": (ctypes.c_ssize_t, [_POINTER, ctypes.c_int, _POINTER, ctypes.c_size_t]),
    "rd_kafka_message_destroy": (None, [_POINTER]),
    "rd_kafka_message_timestamp": (ctypes.c_int64, [_POINTER, _POINTER]),
    "rd_kafka_message_headers": (ctypes.c_int, [_POINTER, _POINTER]),
    "rd_kafka_message_errstr": (ctypes.c_char_p, [_POINTER]),
    "rd_kafka_header_get_all": (ctypes.c_int, [_POINTER, ctypes.c_size_t, _POINTER, _POINTER, _POINTER]),
    "rd_kafka_topic_name": (ctypes.c_char_p, [_POINTER]),
    "rd_kafka_last_error": (ctypes.c_int, []),
}


@dataclass(frozen=True, slots=True)
class Librdkafka:
    """The loaded library."""

    functions: Any

    def address(self, name: str) -> int:
        """Where a function starts, for kernels to call."""
        found = ctypes.cast(getattr(self.functions, name), _POINTER).value
        assert found is not None
        return found

    def open_queue(self, consumer: Any) -> int:
        """A new queue of a consumer; give it back before the consumer is closed."""
        queue: int = self.functions.rd_kafka_queue_new(_handle(consumer))
        return queue

    def fill_queue(self, queue: int | None, consumer: Any, topic: str, partition: int) -> None:
        """Have messages of a partition put into the queue instead of the one that ``consumer.poll`` reads.

        None ends that.
        """
        source = self.functions.rd_kafka_queue_get_partition(_handle(consumer), topic.encode(), partition)
        self.functions.rd_kafka_queue_forward(source, queue)
        self.functions.rd_kafka_queue_destroy(source)

    def close_queue(self, queue: int, consumer: Any, places: Iterable[tuple[str, int]]) -> None:
        """Give a queue back, and what is left in it: messages that nobody owns keep a consumer from closing."""
        for topic, partition in places:
            self.fill_queue(None, consumer, topic, partition)
        left = (_POINTER * _AT_ONCE)()
        while taken := self.functions.rd_kafka_consume_batch_queue(queue, 0, left, _AT_ONCE):
            for message in left[:taken]:
                self.functions.rd_kafka_message_destroy(message)
        self.functions.rd_kafka_queue_destroy(queue)

    def topic_name(self, topic: int) -> str:
        """Name of the topic a message points to."""
        name: bytes = self.functions.rd_kafka_topic_name(topic)
        return name.decode()

    def error(self, message: int) -> KafkaError:
        """What a message that is an error says."""
        text: bytes | None = self.functions.rd_kafka_message_errstr(message)
        return KafkaError(ctypes.c_int.from_address(message).value, (text or b"").decode("utf-8", "replace"))

    def offset(self, message: int) -> int:
        """Offset of a message."""
        return ctypes.c_int64.from_address(message + _OFFSET).value

    def headers(self, message: int) -> dict[str, bytes]:
        """Headers of a message; of two with one name the last."""
        headers, name, value, size = _POINTER(), ctypes.c_char_p(), _POINTER(), ctypes.c_size_t()
        found: dict[str, bytes] = {}
        if self.functions.rd_kafka_message_headers(message, ctypes.byref(headers)):
            return found
        out = (ctypes.byref(name), ctypes.byref(value), ctypes.byref(size))
        for number in count():
            if self.functions.rd_kafka_header_get_all(headers, number, *out):
                break
            found[(name.value or b"").decode()] = ctypes.string_at(value, size.value) if value.value else b""
        return found


@cache
def find_librdkafka() -> Librdkafka | None:
    """The library, or None where it cannot be used: another Python, another version, symbols that cannot be found."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(_POINTER) != 8 or numba.config.DISABLE_JIT:
        return None
    try:
        # The extension module: a look-up in it also searches the libraries it was linked with.
        functions = ctypes.CDLL(cimpl.__file__)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError):
        return None
    return Librdkafka(functions) if _TRIED[0] <= functions.rd_kafka_version() <= _TRIED[1] else None


def _handle(consumer: Any) -> int:
    handle = _POINTER.from_address(id(consumer) + object.__basicsize__).value
    assert handle is not None, "the consumer is closed"
    return handle
