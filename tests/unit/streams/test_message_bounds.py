"""Sizes, depths and lengths of messages are bounded by the settings, for everything that reads a topic."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace import ArrowBatches, Avro, EventStream, Int64, Json
from headrace.config import StreamSettings, load_settings
from headrace.spec.formats import Format
from streams.formats.decode import Decoded
from streams.formats.decoders import stream_decoder
from streams.formats.message_reader import open_readers
from streams.messages.payloads import Payloads
from tests.format_cases import ARRIVAL_US, Schemas, arrow_message, avro_message

LINK = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}
SCHEMA = {
    "type": "record",
    "name": "Visit",
    "fields": [
        {"name": "user", "type": "long"},
        {"name": "visit", "type": "long"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "extra", "type": ["null", LINK, "bytes"]},
    ],
}


def stream(form: Format) -> EventStream:
    return EventStream("visits", key="user", time="at", id="visit", schema={"user": Int64}, format=form)


def decode(form: Format, message: bytes, **bounds: int) -> Decoded:
    decoder = stream_decoder(stream(form), lambda: Schemas({1: SCHEMA}), StreamSettings(**bounds))
    return decoder.decode(Payloads.of([message]), np.array([ARRIVAL_US]))


def json_event(**changes: Any) -> bytes:
    return json.dumps({"user": 1, "visit": 2, "at": ARRIVAL_US, **changes}).encode()


def avro_event(extra: Any = None) -> bytes:
    return avro_message(SCHEMA, {"user": 1, "visit": 2, "at": ARRIVAL_US, "extra": extra})


def arrow_event(*rows: int) -> bytes:
    """Batches of so many rows."""
    columns = [
        {"user": [1] * count, "visit": list(range(count)), "at": pa.array([ARRIVAL_US] * count, US)} for count in rows
    ]
    return arrow_message([pa.record_batch(given) for given in columns])


US = pa.timestamp("us", "UTC")
DEEP = {"next": {"next": {"next": None}}}
CASES: dict[str, tuple[Format, bytes, str, int]] = {
    "bytes of JSON": (Json(), json_event().ljust(100), "max_message_bytes", 100),
    "bytes of Avro": (Avro(), avro_event(bytes(100)), "max_message_bytes", len(avro_event(bytes(100)))),
    "bytes of Arrow": (ArrowBatches(), arrow_event(3), "max_arrow_bytes", len(arrow_event(3))),
    "rows of Arrow": (ArrowBatches(), arrow_event(3, 4), "max_arrow_rows", 7),
    "parts of Arrow": (ArrowBatches(), arrow_event(1, 1, 1), "max_arrow_parts", 4),
    "depth of Avro": (Avro(), avro_event(DEEP), "max_depth", 3),
}


@pytest.mark.parametrize("case", CASES)
def test_a_message_at_its_bound_is_read_and_one_beyond_is_refused_by_name(case: str) -> None:
    form, message, setting, most = CASES[case]

    at, beyond = decode(form, message, **{setting: most}), decode(form, message, **{setting: most - 1})

    assert len(at.rows) > 0
    assert at.refused == []
    (refusal,) = beyond.refused
    assert (refusal.reason, f"{most - 1}, by stream.{setting}" in refusal.detail) == ("too_large", True), refusal


@pytest.mark.parametrize(("most", "reason"), [(2, "too_large"), (3, "unknown_field")])
def test_depth_of_json_is_asked_before_anything_else(most: int, reason: str) -> None:
    (refusal,) = decode(Json(), json_event(extra=[[]]), max_depth=most).refused

    assert refusal.reason == reason
    assert ("stream.max_depth" in refusal.detail) == (reason == "too_large")


def test_a_schema_and_1023_batches_are_1024_parts_with_and_without_an_end_mark() -> None:
    message, larger = arrow_event(*[1] * 1023), arrow_event(*[1] * 1024)

    for given in (message, message[:-8]):
        assert (len(decode(ArrowBatches(), given).rows), decode(ArrowBatches(), given).refused) == (1023, [])
    for given in (larger, larger[:-8]):
        (refusal,) = decode(ArrowBatches(), given).refused
        assert (refusal.reason, refusal.detail[:20]) == ("too_large", "more than 1024 parts")


def test_who_reads_a_topic_by_itself_has_the_bounds_of_the_settings(tmp_path: Path) -> None:
    """The stream's scorer, the monitor."""
    settings = load_settings(tmp_path, {"HEADRACE_STREAM_MAX_MESSAGE_BYTES": "100"})
    reader = open_readers(settings)(stream(Json()))

    rows, refused = reader.read([json_event().ljust(100), json_event().ljust(101)], [ARRIVAL_US] * 2)

    assert ([row.place for row in rows], refused) == ([0], 1)
