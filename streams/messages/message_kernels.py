"""Kernels that take librdkafka's messages apart where they lie.

A batch is an array of pointers to ``rd_kafka_message_t`` (rdkafka.h, 64 bits):

    0 err    8 topic    16 partition    24 payload    32 len    40 key    48 key_len    56 offset

Two passes: :func:`measure` finds out which partitions there are and how much room each needs, :func:`move` copies every
message behind the others of its partition and gives it back to the library.

Legend of shapes: n messages, P partitions of the batch (arrays have room for more).
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import kernel
from feature_store.memory_kernels import call, copy, load_int, load_long

__all__ = ["EMPTY", "FAILED", "measure", "move", "release"]

FILLED, EMPTY, END, FAILED = 0, 1, 2, 3
"""Marks: a message with a value, one without, the end of a partition, another error."""
_END_OF_PARTITION = -191
_NO_TIME, _NO_VALUE, _NO_KEY = 0, 1, 2
_ERR, _TOPIC, _PARTITION, _PAYLOAD, _LEN, _KEY, _KEY_LEN, _OFFSET = 0, 8, 16, 24, 32, 40, 48, 56

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@kernel
def measure(
    messages_n: Longs,
    count: int,
    marks_n: Bytes,
    places_n: Ints,
    topics_P: Longs,
    partitions_P: Ints,
    rows_P: Longs,
    value_bytes_P: Longs,
    key_bytes_P: Longs,
    at_end_P: Bytes,
) -> tuple[int, int, int]:
    """Find the partitions of a batch.

    Args:
        messages_n: addresses of messages.
        count: how many there are; the arrays have room for more.
        marks_n: out: FILLED, EMPTY, END or FAILED.
        places_n: out: which of the partitions found it is of; nothing for one that failed.
        topics_P: out: address of the topic.
        partitions_P: out: its number.
        rows_P: out: messages, ends not counted.
        value_bytes_P: out: of their values.
        key_bytes_P: out: of their keys.
        at_end_P: out: whether the last one is an end.

    Returns:
        Partitions found, failed messages, messages with an empty value.
    """
    found, failed, empty, place = 0, 0, 0, 0
    for i in range(count):
        message = messages_n[i]
        error = load_int(message + _ERR)
        if error != 0 and error != _END_OF_PARTITION:
            marks_n[i] = FAILED
            failed += 1
            continue
        topic, partition = load_long(message + _TOPIC), load_int(message + _PARTITION)
        # Messages come in long runs of one partition: the last one is nearly always right.
        if place >= found or topics_P[place] != topic or partitions_P[place] != partition:
            place = 0
            while place < found and (topics_P[place] != topic or partitions_P[place] != partition):
                place += 1
            if place == found:
                topics_P[place], partitions_P[place] = topic, partition
                rows_P[place] = value_bytes_P[place] = key_bytes_P[place] = 0
                found += 1
        places_n[i] = place
        if error != 0:
            marks_n[i] = END
            at_end_P[place] = 1
            continue
        size = load_long(message + _LEN)
        marks_n[i] = FILLED if size > 0 else EMPTY
        at_end_P[place] = 0
        rows_P[place] += 1
        value_bytes_P[place] += size
        key_bytes_P[place] += load_long(message + _KEY_LEN)
        empty += size == 0
    return found, failed, empty


@kernel
def move(
    messages_n: Longs,
    count: int,
    marks_n: Bytes,
    places_n: Ints,
    rows_P: Longs,
    value_ends_P: Longs,
    key_ends_P: Longs,
    now_us: int,
    timestamp: int,
    destroy: int,
    time_kind: Ints,
    values: Bytes,
    value_bounds: Longs,
    keys: Bytes,
    key_bounds: Longs,
    missing: Bytes,
    offsets: Longs,
    arrivals_us: Longs,
) -> None:
    """Copy messages, those of a partition together, and give all of them back.

    The room of partition p in the bounds is one longer than in the other columns, so it begins p places later.

    Args:
        messages_n: addresses of messages.
        count: how many there are.
        marks_n: from :func:`measure`.
        places_n: from :func:`measure`.
        rows_P: where the rows of each partition begin; moved on to where they end.
        value_ends_P: the same for the bytes of its values.
        key_ends_P: the same for the bytes of its keys.
        now_us: arrival of a message without a time.
        timestamp: address of rd_kafka_message_timestamp.
        destroy: address of rd_kafka_message_destroy.
        time_kind: (1,) room for what that function also says.
        values: out.
        value_bounds: out; ends, the first bound of each partition is the caller's.
        keys: out.
        key_bounds: out, as for values.
        missing: out: MessageRun.missing.
        offsets: out.
        arrivals_us: out.
    """
    kind_at, values_at, keys_at = time_kind.ctypes.data, values.ctypes.data, keys.ctypes.data
    for i in range(count):
        message = messages_n[i]
        if marks_n[i] <= EMPTY:
            place = places_n[i]
            row = rows_P[place]
            rows_P[place] = row + 1
            payload, size = load_long(message + _PAYLOAD), load_long(message + _LEN)
            key, key_size = load_long(message + _KEY), load_long(message + _KEY_LEN)
            if size > 0:
                copy(values_at + value_ends_P[place], payload, size)
            if key_size > 0:
                copy(keys_at + key_ends_P[place], key, key_size)
            value_ends_P[place] += size
            key_ends_P[place] += key_size
            value_bounds[row + place + 1] = value_ends_P[place]
            key_bounds[row + place + 1] = key_ends_P[place]
            missing[row] = (_NO_VALUE if payload == 0 else 0) | (_NO_KEY if key == 0 else 0)
            offsets[row] = load_long(message + _OFFSET)
            stamp_ms = call(timestamp, message, kind_at)
            arrivals_us[row] = now_us if time_kind[0] == _NO_TIME else stamp_ms * 1000
        call(destroy, message, 0)


@kernel
def release(messages_n: Longs, count: int, destroy: int) -> None:
    """Give messages back without looking at them."""
    for i in range(count):
        call(destroy, messages_n[i], 0)
