"""Whatever the format of a topic, whoever reads it one row at a time reads what the stream reads."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace import ArrowBatches, Avro, EventStream, Float64, Int64, Json, LabelStream, String
from headrace.clock import format_us
from headrace.config import Settings
from headrace.contracts.messages import MessageRow
from headrace.spec.formats import Format
from headrace.spec.streams import EventStream as Stream
from streams.formats.arrow_writer import ArrowWriter
from streams.formats.avro_writer import AvroWriter, declared_schema
from streams.formats.message_reader import open_readers
from streams.schemas.schema_registry_choice import open_registry

NOON_US = 1_600_000_000_000_000
FORMATS: list[Format] = [Json(), Avro(), ArrowBatches()]
ROWS: list[dict[str, Any]] = [
    {"card": "a", "eur": 2.5, "online": True, "sale": 1, "at": NOON_US},
    {"card": "b é", "eur": None, "online": False, "sale": 2, "at": NOON_US + 1},
    {"card": "a", "eur": -0.25, "online": True, "sale": 2**62, "at": NOON_US + 2_000_000},
]


def sales(form: Format) -> EventStream:
    fields = {"card": String, "eur": Float64(resolution=0.01, nullable=True), "online": Int64}
    return EventStream("sales", key="card", time="at", id="sale", schema=fields, format=form)


def frauds(form: Format) -> LabelStream:
    return LabelStream("frauds", of=sales(Json()), value="fraud", delay="1h", format=form)


def written(settings: Settings, topic: Stream | LabelStream, rows: list[dict[str, Any]]) -> list[bytes]:
    """As our own publisher writes rows; in Arrow two messages of several rows."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    if "at" in columns:
        columns["at"] = pa.array(columns["at"], pa.timestamp("us", "UTC"))
    table, times_us = pa.table(columns), np.array([row.get("at", 0) for row in rows])
    if isinstance(topic.format, Avro):
        number = open_registry(settings).register(f"{topic.name}-value", declared_schema(topic))
        return AvroWriter(topic, number).encode(table)
    if isinstance(topic.format, ArrowBatches):
        return [message for _, message, _ in ArrowWriter(topic, 1, span_us=1_000_000).encode(table, times_us)]
    return [json.dumps({**row, **({"at": format_us(row["at"])} if "at" in row else {})}).encode() for row in rows]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_events_are_read_as_they_were_written(form: Format, tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    rows = [{**row, "online": int(row["online"])} for row in ROWS]
    messages = written(settings, sales(form), rows)
    values = [b"", *messages, b"\xff no message of any format"]

    read, refused = open_readers(settings)(sales(form)).read(values, [NOON_US] * len(values))

    assert [dict(row.fields) for row in read] == rows
    assert refused == 1
    places = [row.place for row in read]
    assert places == ([1, 1, 2] if isinstance(form, ArrowBatches) else [1, 2, 3])


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_labels_are_0_or_1_in_every_format(form: Format, tmp_path: Any) -> None:
    settings = Settings(home=tmp_path)
    outcomes = [{"sale": n, "fraud": value} for n, value in enumerate([0, 1, 2, 1, -1])]
    messages = written(settings, frauds(form), outcomes)

    read, refused = open_readers(settings)(frauds(form)).read(messages, [NOON_US] * len(messages))

    assert [dict(row.fields) for row in read] == [outcome for outcome in outcomes if outcome["fraud"] in (0, 1)]
    assert refused == 2


def test_nothing_but_ticks_is_nothing(tmp_path: Any) -> None:
    empty: tuple[list[MessageRow], int] = ([], 0)

    assert open_readers(Settings(home=tmp_path))(sales(Avro())).read([b"", b""], [NOON_US] * 2) == empty
