"""A worker holds messages to the bounds of its settings."""

import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from headrace.config import Settings
from headrace.kafka_clients import end_offsets, ensure_topics
from streams.logs.dead_letters import read_dead_letters
from streams.progress import wait_applied
from streams.worker import StreamWorker
from tests.stream_world import make_project

pytestmark = pytest.mark.integration
MOST = 150


def test_a_message_beyond_the_bound_is_a_dead_letter_that_names_the_setting(stack: Settings, tmp_path: Path) -> None:
    settings = replace(stack, stream=replace(stack.stream, max_message_bytes=MOST, max_depth=2))
    stamp = uuid.uuid4().hex[:8]
    project = make_project(tmp_path / f"bounds_{stamp}", f"sales-{stamp}")
    stream, labels = project.streams[0].name, project.labels[0].name
    event = b'{"sale": %d, "card": "a", "shop": 1, "eur": 1.5, "at": "2018-04-01T00:00:00Z"}'
    messages = [(event % 1).ljust(MOST), (event % 2).ljust(MOST + 1), b'{"sale": [[3]]}', event % 4]
    ensure_topics(settings, [stream, labels])
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    for message in messages:
        producer.produce(stream, message, b"a", partition=0)
    assert producer.flush(30) == 0
    worker = StreamWorker(settings, project)
    running = threading.Thread(target=worker.run)
    running.start()

    wait_applied(settings, project, offsets=end_offsets(settings, [stream, labels]), timeout_s=60)

    worker.stop()
    running.join()
    letters = list(read_dead_letters(settings, stream))
    assert [(letter.offset, letter.reason) for letter in letters] == [(1, "too_large"), (2, "too_large")]
    assert letters[0].detail == "151 bytes; a message may have 150, by stream.max_message_bytes"
    assert letters[1].detail == "nested deeper; a message may have 2, by stream.max_depth"
