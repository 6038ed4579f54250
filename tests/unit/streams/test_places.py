"""Events without an id are known by where they stand: whoever reads a message gives it the same id."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.ids import place_ids
from feature_store.offline.offline_log import read_segment, segments_below
from feature_store.offline_tables import event_schema
from headrace import Avro, EventStream, FeatureView, Int64, Json, Project, String, count
from headrace.config import Settings
from headrace.errors import ConfigError
from headrace.spec.formats import Format
from streams.backfill.backfill import Backfill
from streams.formats.avro_decoder import AvroDecoder
from streams.formats.avro_writer import AvroWriter, declared_schema
from streams.formats.decode import event_decoder
from streams.formats.decoders import stream_decoder
from streams.formats.message_check import USUAL_BOUNDS
from streams.formats.topic_writer import TopicWriter
from streams.logs.dead_letters import DeadLetters
from streams.logs.keyed_log import decode_batch
from streams.logs.segment_buffer import SegmentBuffer
from streams.messages.fetch import MessageBatch
from streams.messages.payloads import Payloads
from streams.sources import source_tasks
from streams.sources.routes import event_routes
from streams.sources.source_commit import SourceCommit
from streams.sources.source_task import SourceTask
from streams.sources.source_tasks import SourceTasks
from tests.format_cases import Schemas

NOON_US = 1_600_000_000_000_000


def clicks(form: Format | None = None) -> EventStream:
    fields = {"card": String, "page": Int64(nullable=True)}
    return EventStream("clicks", key="card", time="at", id=None, schema=fields, format=form or Json())


ROWS: list[dict[str, Any]] = [
    {"card": "a", "page": 1, "at": NOON_US},
    {"card": "b", "page": None, "at": NOON_US},
    {"card": "a", "page": 1, "at": NOON_US},
    {"card": "a", "page": 1.0, "at": "2020-09-13T12:26:40Z"},  # not as the scanner takes it: looked at one by one
]


class Sent:
    """A producer that keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, Any, dict[str, Any]]] = []

    def send(self, topic: str, value: bytes | None, **more: Any) -> None:
        self.messages.append((topic, value, more))

    def send_many(self, topic: str, values: Sequence[Any], **more: Any) -> None:
        self.messages += [(topic, value, more) for value in values]

    def poll(self) -> None: ...

    def flush(self) -> None: ...


class Source:
    """The task of a stream without ids, its decoder and everything it writes."""

    def __init__(self, stream: EventStream, folder: Path, decoder: Any) -> None:
        view = FeatureView("use", entity="card", source=stream, features=[count().over("1h")])
        project = Project(name="p", path=Path(), streams=(stream,), labels=(), views=(view,), requests=(), models=())
        self.sent, self.letters, self.folder, self.stream = Sent(), Sent(), folder, stream
        self.task = SourceTask(
            topic=stream.name,
            partitions=3,
            decoder=decoder,
            time=stream.time,
            place_id=stream.id,
            lateness_us=stream.lateness_us,
            future_us=stream.future_us,
            routes=[(route, "keyed", 1) for route in event_routes(project, stream, 3)],
            buffer=SegmentBuffer(folder, event_schema(stream)),
            sender=self.sent,
            dead_letters=DeadLetters(self.letters),
        )
        self.task.open([SourceCommit(partition=number, offset=0) for number in range(3)])

    def process(self, values: Sequence[bytes], places: Sequence[tuple[int, int]]) -> None:
        self.task.process(
            MessageBatch(
                topic=self.stream.name,
                values=Payloads.of(values),
                keys=Payloads.of([b""] * len(values)),
                missing=np.zeros(len(values), dtype=np.uint8),
                partitions=np.array([number for number, _ in places], dtype=np.int32),
                offsets=np.array([offset for _, offset in places], dtype=np.int64),
                arrivals_us=np.full(len(values), NOON_US),
                headers={},
            )
        )

    def forwarded(self) -> list[int]:
        batches = [decode_batch(value) for _, value, _ in self.sent.messages]
        return [number for batch in batches for number in batch.ids.tolist()]

    def logged(self) -> list[dict[str, Any]]:
        commits, write = self.task.take_segments()
        for commit in commits:
            write(commit.partition)
        tables = [read_segment(segment.path) for segment in segments_below(self.folder)]
        return pa.concat_tables(tables).to_pylist()


def written(form: Format) -> tuple[list[bytes], Any]:
    """The rows as messages, and what decodes them."""
    if isinstance(form, Json):
        return [json.dumps(row).encode() for row in ROWS], event_decoder(clicks())
    table = pa.table(
        {
            "card": [row["card"] for row in ROWS],
            "page": pa.array([None if row["page"] is None else int(row["page"]) for row in ROWS], pa.int64()),
            "at": pa.array([NOON_US] * len(ROWS), pa.timestamp("us", "UTC")),
        }
    )
    schemas: Any = Schemas({7: json.loads(declared_schema(clicks(form)))})
    return AvroWriter(clicks(form), 7).encode(table), stream_decoder(clicks(form), lambda: schemas, USUAL_BOUNDS)


@pytest.mark.parametrize("form", [Json(), Avro()], ids=str)
def test_an_event_is_known_by_its_place_in_the_keyed_log_and_in_the_event_log(form: Format, tmp_path: Path) -> None:
    messages, decoder = written(form)
    source = Source(clicks(form), tmp_path, decoder)
    places = [(0, 5), (0, 9), (2, 0), (2, 2**40)]

    source.process([*messages[:2], b"\xff", *messages[2:]], [*places[:2], (1, 7), *places[2:]])

    ids = [5, 9, 2 << 48, (2 << 48) + 2**40]
    assert source.forwarded() == ids
    rows = source.logged()
    assert sorted((row["_id"], row["_partition"], row["_offset"]) for row in rows) == sorted(
        (number, *place) for number, place in zip(ids, places, strict=True)
    )
    assert [row["page"] for row in sorted(rows, key=lambda row: row["_id"])] == [1, None, 1, 1]
    assert len(source.letters.messages) == 1


def test_a_message_read_again_is_the_same_event_and_one_sent_again_another(tmp_path: Path) -> None:
    messages, decoder = written(Json())
    first, second = (Source(clicks(), tmp_path / name, decoder) for name in ("first", "second"))

    first.process(messages, [(1, 0), (1, 1), (1, 2), (1, 3)])
    second.process(messages[2:], [(1, 2), (1, 3)])

    assert messages[0] == messages[2]
    assert first.forwarded()[2:] == second.forwarded()
    assert len(set(first.forwarded())) == 4


def test_a_mark_without_rows_is_told_as_ever(tmp_path: Path) -> None:
    source = Source(clicks(), tmp_path, event_decoder(clicks()))

    source.task.announce()

    ((_, message, _),) = source.sent.messages
    assert len(decode_batch(message)) == 0
    assert len(decode_batch(message).marks) == 3


@pytest.mark.parametrize(
    "stream",
    [clicks(), EventStream("own", key="_card", time="at", id="_n", schema={"_card": Int64})],
    ids=lambda stream: stream.name,
)
def test_a_backfill_hears_of_partitions_without_rows_whatever_fields_are_called(
    stream: EventStream, tmp_path: Path
) -> None:
    view = FeatureView("use", entity=stream.key, source=stream, features=[count().over("1h")])
    project = Project(name="p", path=Path(), streams=(stream,), labels=(), views=(view,), requests=(), models=())
    sources = {stream.name: 2}
    backfill = Backfill(Settings(home=tmp_path), project, view, partitions=1, sources=sources, now_us=lambda: 0)

    assert backfill.run(save_every_s=60, look=lambda: True)
    assert backfill.snapshot(0) is not None


@given(st.lists(st.tuples(st.integers(0, 2**15 - 1), st.integers(0, 2**48 - 1)), min_size=2, unique=True))
def test_the_order_of_ids_is_that_of_places(places: list[tuple[int, int]]) -> None:
    partitions, offsets = np.array(sorted(places), dtype=np.int64).T

    ids = place_ids(partitions.astype(np.int32), offsets)

    assert ids.min() >= 0
    assert (np.diff(ids) > 0).all()


def test_a_field_that_is_called_as_the_id_is_a_field_nobody_declared() -> None:
    """As any such: JSON refuses it, Avro steps over it."""
    message = json.dumps({**ROWS[0], "_id": 3}).encode()
    (refusal,) = event_decoder(clicks()).decode(Payloads.of([message]), np.array([NOON_US])).refused
    assert (refusal.reason, "'_id'" in refusal.detail) == ("unknown_field", True)

    schema = json.loads(declared_schema(clicks(Avro())))
    assert [field["name"] for field in schema["fields"]] == ["card", "page", "at"]
    schema["fields"].append({"name": "_id", "type": "string"})
    out = pa.BufferOutputStream()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), {**ROWS[0], "_id": "x"})
    message = b"\x00\x00\x00\x00\x07" + out.getvalue().to_pybytes()
    decoder = AvroDecoder(clicks().published, Schemas({7: schema}), time="at")
    decoded = decoder.decode(Payloads.of([message]), np.array([NOON_US]))
    assert (decoded.refused, sorted(decoded.columns)) == ([], ["at", "card", "page"])


def test_our_own_writer_leaves_the_id_out(tmp_path: Path) -> None:
    sent: Any = Sent()
    rows = pa.table({"card": ["a"], "page": [1], "_id": [9], "at": pa.array([NOON_US], pa.timestamp("us", "UTC"))})

    TopicWriter(Settings(home=tmp_path), clicks(), 3, sent, batch_span_us=1).send(rows, np.array([NOON_US]))

    ((_, message, _),) = sent.messages
    assert json.loads(message) == {"card": "a", "page": 1, "at": "2020-09-13T12:26:40Z"}


def test_a_topic_of_more_partitions_than_ids_can_tell_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_tasks, "partition_counts", lambda *_: {"clicks": 2**15 + 1})
    project: Any = SimpleNamespace(name="p", streams=(clicks(),), labels=(), views=())
    nobody: Any = None

    with pytest.raises(ConfigError, match="32769 partitions; without an id its stream may have 32768"):
        SourceTasks(Settings(home=tmp_path), project, nobody, nobody, nobody)
