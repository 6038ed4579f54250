"""Events of producers that know nothing of us, in Avro and in Arrow: features are those of the same events in JSON."""

import io
import json
import struct
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Producer

from feature_store.offline.event_log import read_events
from headrace.clock import parse_us
from headrace.config import SchemaRegistrySettings, Settings
from headrace.demo.generator import World, generate
from headrace.errors import UnavailableError
from headrace.kafka_clients import end_offsets, ensure_topics
from headrace.spec.project import Project
from streams.logs.dead_letters import read_dead_letters
from streams.progress import Progress, wait_applied
from streams.publisher import Publisher
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.registry_server import RegistryServer, serve_registry
from tests.stream_world import (
    Message,
    Traffic,
    expected_values,
    feature_log,
    log_values,
    make_project,
    make_traffic,
    online_values,
)

ROWS = 9
"""Events of one Arrow message."""
GARBAGE = [b"\x00", b'{"sale": 1}', b"\x00\x00\x00\x00\x63rest", b"\xff\xff\xff\xff" + bytes(60), b""]
REASONS = {
    "avro": ["malformed_avro", "malformed_avro", "unknown_schema", "malformed_avro", "malformed_avro"],
    "arrow": ["malformed_arrow"] * 5,
}


def sale_schema(**extra: Any) -> dict[str, Any]:
    fields = {
        "sale": "long",
        "card": "string",
        "shop": "long",
        "eur": ["null", "double"],
        "at": {"type": "long", "logicalType": "timestamp-micros"},
        **extra,
    }
    return {
        "type": "record",
        "name": "Sale",
        "fields": [
            {"name": name, "type": kind, "default": None} if isinstance(kind, list) else {"name": name, "type": kind}
            for name, kind in fields.items()
        ],
    }


def events_of(traffic: Traffic) -> list[tuple[Message, dict[str, Any]]]:
    """The events any format can hold, with their fields."""
    found = []
    for message in traffic.events:
        if message.reason in ("", "late"):
            fields = {"eur": None, **json.loads(message.value)}
            at = fields["at"]
            found.append((message, {**fields, "at": at if isinstance(at, int) else parse_us(at)}))
    return found


def as_avro(traffic: Traffic, server: RegistryServer) -> Iterator[Message]:
    """Two versions of a schema, the second with more than is declared."""
    versions = [sale_schema(), sale_schema(tags=["null", {"type": "array", "items": "string"}])]
    known = [(server.schemas.register("sales", json.dumps(text)), fastavro.parse_schema(text)) for text in versions]
    for message, fields in events_of(traffic):
        number, schema = known[fields["sale"] % 2]
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, {**fields, "tags": ["a", "b"]} if fields["sale"] % 2 else fields)
        yield replace(message, value=b"\x00" + struct.pack(">I", number) + out.getvalue())


def as_arrow(traffic: Traffic, _server: RegistryServer) -> Iterator[Message]:
    """Events that follow each other in a partition share a message, which arrives with the last of them."""
    lanes: dict[int, list[tuple[Message, dict[str, Any]]]] = {}
    for message, fields in events_of(traffic):
        lanes.setdefault(message.partition, []).append((message, fields))
    for lane in lanes.values():
        for start in range(0, len(lane), ROWS):
            part = lane[start : start + ROWS]
            rows = [fields for _, fields in part]
            batch = pa.record_batch(
                {
                    "card": pa.array([row["card"] for row in rows]).dictionary_encode(),
                    "at": pa.array([row["at"] * 1000 for row in rows], pa.timestamp("ns", "UTC")),
                    "sale": [row["sale"] for row in rows],
                    "eur": pa.array([row["eur"] for row in rows], pa.float64()),
                    "shop": pa.array([row["shop"] for row in rows], pa.int32()),
                }
            )
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            yield replace(part[-1][0], value=sink.getvalue().to_pybytes())


def labels_of(traffic: Traffic) -> list[tuple[Message, dict[str, Any]]]:
    """Labels with their fields, those that are none included."""
    return [(message, json.loads(message.value)) for message in traffic.labels]


def labels_as_avro(traffic: Traffic, server: RegistryServer) -> Iterator[Message]:
    names = ("sale", "fraud")
    schema = {"type": "record", "name": "Fraud", "fields": [{"name": name, "type": "long"} for name in names]}
    number, parsed = server.schemas.register("frauds", json.dumps(schema)), fastavro.parse_schema(schema)
    for message, fields in labels_of(traffic):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, parsed, fields)
        yield replace(message, value=b"\x00" + struct.pack(">I", number) + out.getvalue())


def labels_as_arrow(traffic: Traffic, _server: RegistryServer) -> Iterator[Message]:
    """Alone or by twos, which arrive with the second."""
    lanes: dict[int, list[tuple[Message, dict[str, Any]]]] = {}
    for message, fields in labels_of(traffic):
        lanes.setdefault(message.partition, []).append((message, fields))
    for lane in lanes.values():
        for start in range(0, len(lane), 2):
            part = lane[start : start + 2]
            batch = pa.RecordBatch.from_pylist([fields for _, fields in part])
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            yield replace(part[-1][0], value=sink.getvalue().to_pybytes())


LABEL_WRITERS = {"avro": labels_as_avro, "arrow": labels_as_arrow}
WRITERS = {"avro": ("Avro()", as_avro), "arrow": ("ArrowBatches()", as_arrow)}


def produce(settings: Settings, topics: dict[str, list[Message]]) -> dict[tuple[str, int], int]:
    """Send by the plain client; gives the ends of partitions."""
    ensure_topics(settings, list(topics))
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    for topic, messages in topics.items():
        for message in messages:
            producer.produce(topic, message.value, message.key, message.partition, timestamp=message.arrival_us // 1000)
    assert producer.flush(30) == 0
    return end_offsets(settings, list(topics))


def apply_all(settings: Settings, project: Project, ends: dict[tuple[str, int], int], newest_us: int) -> None:
    """Run a worker until all is applied, then stop it."""
    worker = StreamWorker(settings, project)

    def seen() -> bool:
        worker.step()
        try:
            wait_applied(settings, project, offsets=ends, timeout_s=0)
        except UnavailableError:
            return False
        progress = Progress(settings.redis.url, project.name)
        reached = all(report.watermark_us >= newest_us for report in progress.views())
        progress.close()
        return reached

    eventually(seen, timeout_s=120, what="the worker applies everything")
    worker.stop()
    worker.run()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with serve_registry(tmp_path / "server") as running:
        yield running


@pytest.mark.parametrize("name", WRITERS)
def test_features_are_those_of_the_same_events_in_json(
    name: str, stack: Settings, server: RegistryServer, tmp_path: Path
) -> None:
    form, write = WRITERS[name]
    settings = replace(stack, schema_registry=SchemaRegistrySettings(url=server.url))
    stamp = uuid.uuid4().hex[:8]
    project = make_project(tmp_path / f"formats_{stamp}", f"sales-{stamp}", form=form)
    stream, labels = project.streams[0], project.labels[0]
    traffic = make_traffic(2_000, seed=11)
    messages = list(write(traffic, server))
    label_messages = list(LABEL_WRITERS[name](traffic, server))
    for place, value in zip((5, 50, 100, 150, 190), GARBAGE, strict=True):
        messages.insert(place, replace(messages[place], value=value))
    newest_us = max(row["us"] for row in traffic.clean.values())
    ends = produce(settings, {stream.name: messages, labels.name: label_messages})
    apply_all(settings, project, ends, newest_us)

    rows = list(traffic.clean.values())
    at_us = np.array([row["us"] for row in rows])
    for view in project.views:
        keys = [row[view.entity] for row in rows]
        values, found = log_values(feature_log(settings, project, view), view, keys, at_us)
        np.testing.assert_array_equal(values[found], expected_values(traffic, view, keys, at_us)[found])
        assert found.mean() > 0.8
        every = sorted(set(keys))
        progress = Progress(settings.redis.url, project.name)
        now_us = min(report.watermark_us for report in progress.views())
        counted: Counter[str] = Counter()
        for source in progress.sources():
            if source.topic == stream.name:
                counted.update(source.dead_letters)
        progress.close()
        np.testing.assert_array_equal(
            online_values(settings, project, view, every, now_us),
            expected_values(traffic, view, every, np.full(len(every), now_us)),
        )
    assert Counter(letter.reason for letter in read_dead_letters(settings, labels.name)) == Counter(
        message.reason for message in traffic.labels if message.reason
    )
    logged = {row["sale"]: row for row in read_events(settings.offline_dir, project, stream, labels).to_pylist()}
    assert {sale: logged[sale]["eur"] for sale in traffic.clean} == {row["sale"]: row["eur"] for row in rows}
    late = sum(message.reason == "late" for message in traffic.events)
    assert counted == Counter({"late": late, **Counter(REASONS[name])})
    letters = [letter for letter in read_dead_letters(settings, stream.name) if letter.reason != "late"]
    assert Counter(letter.value or b"" for letter in letters) == Counter(GARBAGE)


@pytest.mark.parametrize("form", ["Avro()", "ArrowBatches()"])
def test_what_we_publish_in_a_format_is_what_we_read(form: str, stack: Settings, tmp_path: Path) -> None:
    stamp = uuid.uuid4().hex[:8]
    project = make_project(tmp_path / f"published_{stamp}", f"sales-{stamp}", form=form)
    stream = project.streams[0]
    world = generate(World(customers=30, terminals=20, days=2))
    table = pa.table(
        {
            "at": world["tx_datetime"],
            "sale": world["transaction_id"],
            "card": world["customer_id"].cast(pa.string()),
            "shop": world["terminal_id"],
            "eur": world["tx_amount"],
            "fraud": world["tx_fraud"],
        }
    )
    publisher = Publisher(stack, project, stream, table, project.labels[0])

    publisher.publish_until(publisher.span_us[1] + project.labels[0].delay_us + 1)
    apply_all(stack, project, end_offsets(stack, [stream.name, project.labels[0].name]), publisher.span_us[1])

    read = read_events(stack.offline_dir, project, stream, project.labels[0])
    names = ["sale", "card", "shop", "eur", "at", "fraud"]
    wanted = table.select(names).sort_by("sale").to_pydict()
    assert read.select(names).sort_by("sale").to_pydict() == wanted
    assert not list(read_dead_letters(stack, stream.name))
    assert not list(read_dead_letters(stack, project.labels[0].name))


def test_messages_wait_while_the_registry_is_away(stack: Settings, server: RegistryServer, tmp_path: Path) -> None:
    settings = replace(stack, schema_registry=SchemaRegistrySettings(url=server.url))
    stamp = uuid.uuid4().hex[:8]
    project = make_project(tmp_path / f"away_{stamp}", f"sales-{stamp}", form="Avro()")
    stream = project.streams[0]
    messages = list(as_avro(make_traffic(200, seed=3), server))
    ends = produce(settings, {stream.name: messages, project.labels[0].name: []})
    server.failing = 503
    worker = StreamWorker(settings, project)
    running = threading.Thread(target=worker.run)
    running.start()
    eventually(lambda: len(server.requests) > 2, what="the registry is asked again")

    server.failing = 0

    wait_applied(settings, project, offsets=ends, timeout_s=60)
    worker.stop()
    running.join()
    assert {letter.reason for letter in read_dead_letters(settings, stream.name)} <= {"late"}
