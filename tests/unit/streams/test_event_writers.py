"""What the publisher writes in Avro and Arrow is read by other people's libraries, and by our decoders, as it was."""

import io
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest

from headrace import Bool, EventStream, Float64, Int64, String
from headrace.errors import ConfigError
from streams.formats.arrow_decoder import ArrowDecoder
from streams.formats.arrow_writer import ArrowWriter
from streams.formats.avro_decoder import AvroDecoder
from streams.formats.avro_writer import AvroWriter, declared_schema
from streams.messages.payloads import Payloads
from tests.format_cases import Schemas

SALES = EventStream(
    "shop-sales",
    key="card",
    time="at",
    id="sale",
    schema={
        "card": String,
        "shop": Int64(nullable=True),
        "eur": Float64(resolution=0.01),
        "fee": Float64(nullable=True),
        "online": Bool,
        "note": String(nullable=True),
    },
)
START_US = 1_600_000_000_000_000
NUMBERS = [0, -1, 1, 63, -64, 64, 2**31, -(2**31), 2**63 - 1, -(2**63) + 1]


TIMES_US = START_US + 20_000_000 * np.arange(len(NUMBERS))


def table() -> pa.Table:
    n = len(NUMBERS)
    return pa.table(
        {
            "at": pa.array(TIMES_US, pa.timestamp("us", "UTC")),
            "sale": NUMBERS,
            "card": [f"card é {k % 3}" for k in range(n)],
            "shop": [None, *NUMBERS[1:]],
            "eur": np.linspace(-3, 3, n),
            "fee": [0.5, None] * (n // 2),
            "online": [True, False] * (n // 2),
            "note": ["", None] * (n // 2),
        }
    )


def rows() -> list[dict[str, Any]]:
    return [{**row, "at": row["at"].astimezone(UTC)} for row in table().to_pylist()]


def read_back(decoder: Any, messages: list[bytes]) -> list[dict[str, Any]]:
    decoded = decoder.decode(Payloads.of(messages), np.full(len(messages), START_US + 10**9))
    assert decoded.refused == []
    columns = {name: column.tolist() for name, column in decoded.columns.items()}
    for name, null in decoded.nulls.items():
        columns[name] = [None if gone else value for value, gone in zip(columns[name], null.tolist(), strict=True)]
    columns["at"] = [datetime.fromtimestamp(at / 1e6, UTC) for at in columns["at"]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_avro_is_what_fastavro_and_our_decoder_read() -> None:
    schema = json.loads(declared_schema(SALES))
    messages = AvroWriter(SALES, 7).encode(table())

    read = [fastavro.schemaless_reader(io.BytesIO(message[5:]), fastavro.parse_schema(schema)) for message in messages]

    assert {message[:5] for message in messages} == {b"\x00\x00\x00\x00\x07"}
    assert read == rows()
    decoder = AvroDecoder(SALES.schema, Schemas({7: schema}), time="at")
    assert read_back(decoder, messages) == rows()


def test_a_null_that_is_not_declared_is_not_written() -> None:
    broken = table().set_column(1, "sale", pa.array([None] * len(NUMBERS), pa.int64()))

    with pytest.raises(ConfigError, match="'sale' is null"):
        AvroWriter(SALES, 7).encode(broken)


def test_arrow_messages_hold_what_one_partition_gets_in_a_moment() -> None:
    written = list(ArrowWriter(SALES, 2, span_us=60_000_000).encode(table(), TIMES_US))
    messages = [message for _, message, _ in written]

    read = read_back(ArrowDecoder(SALES.schema, time="at"), messages)

    assert Counter(row["sale"] for row in read) == Counter(NUMBERS)
    assert sorted(read, key=lambda row: row["at"]) == rows()
    places: dict[str, set[int]] = {}
    for partition, message, last_us in written:
        batch = pa.ipc.open_stream(message).read_all()
        times_us = batch["at"].cast(pa.int64()).to_pylist()
        assert times_us == sorted(times_us)
        assert (times_us[-1], times_us[-1] - times_us[0] <= 60_000_000) == (last_us, True)
        for card in batch["card"].to_pylist():
            places.setdefault(card, set()).add(partition)
    assert all(len(found) == 1 for found in places.values())
