"""What every schema registry does, the embedded one and a server alike."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.config import SchemaRegistrySettings, Settings
from headrace.errors import ConfigError, IntegrityError, RejectedError, UnavailableError
from headrace.spec.types import Int64
from streams.formats.avro_decoder import AvroDecoder
from streams.messages.payloads import Payloads
from streams.schemas.schema_registry import SchemaRegistry, WriterSchema
from streams.schemas.schema_registry_choice import PatientRegistry, open_registry
from streams.schemas.schema_registry_file import FileSchemaRegistry
from streams.schemas.schema_registry_http import HttpSchemaRegistry
from streams.stopped_waiting import StoppedWaitingError
from tests.eventually import eventually
from tests.registry_server import RegistryServer, serve_registry


def sale(*fields: tuple[str, Any], **more: Any) -> str:
    named = [{"name": name, "type": kind} for name, kind in fields]
    return json.dumps({"type": "record", "name": "Sale", "fields": [*named, *more.get("extra", [])]})


FIRST = sale(("id", "long"), ("eur", "double"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RegistryServer]:
    with serve_registry(tmp_path / "server") as running:
        yield running


@pytest.fixture(params=["file", "http"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SchemaRegistry]:
    if request.param == "file":
        yield FileSchemaRegistry(tmp_path / "schemas")
        return
    client = HttpSchemaRegistry(request.getfixturevalue("server").url)
    yield client
    client.close()


def test_a_schema_comes_back_under_its_id(registry: SchemaRegistry) -> None:
    number = registry.register("sales-value", FIRST)

    found = registry.schema(number)

    assert found is not None
    assert (found.kind, json.loads(found.text)) == ("AVRO", json.loads(FIRST))


def test_an_id_nobody_gave_has_no_schema(registry: SchemaRegistry) -> None:
    assert registry.schema(7) is None


def test_the_same_schema_has_the_same_id_in_every_subject(registry: SchemaRegistry) -> None:
    number = registry.register("sales-value", FIRST)

    assert registry.register("sales-value", FIRST) == number
    assert registry.register("refunds-value", json.dumps(json.loads(FIRST), indent=2)) == number
    assert registry.register("other-value", sale(("id", "string"))) != number


WIDER = [
    sale(("id", "long")),
    sale(("id", "long"), ("eur", "double"), extra=[{"name": "shop", "type": "string", "default": ""}]),
    sale(("id", ["null", "long"]), ("eur", "double")),
    sale(("id", "double"), ("eur", "double")),
    sale(("id", "long"), extra=[{"name": "amount", "type": "double", "aliases": ["eur"]}]),
]
NARROWER = [
    sale(("id", "long"), ("eur", "double"), ("shop", "string")),
    sale(("id", "int"), ("eur", "double")),
    sale(("id", "long"), ("eur", "string")),
    sale(("id", "long"), ("amount", "double")),
    json.dumps({"type": "record", "name": "Refund", "fields": []}),
]


@pytest.mark.parametrize("changed", WIDER)
def test_a_schema_that_reads_what_was_written_is_taken(registry: SchemaRegistry, changed: str) -> None:
    number = registry.register("sales-value", FIRST)

    assert registry.register("sales-value", changed) > number


@pytest.mark.parametrize("changed", NARROWER)
def test_a_schema_that_cannot_read_what_was_written_is_not(registry: SchemaRegistry, changed: str) -> None:
    registry.register("sales-value", FIRST)

    with pytest.raises(RejectedError, match="cannot be read"):
        registry.register("sales-value", changed)


@pytest.mark.parametrize("text", ["{", '"long"', '{"type":"record","name":"A"}'])
def test_what_is_no_schema_is_not_taken(registry: SchemaRegistry, text: str) -> None:
    with pytest.raises(RejectedError):
        registry.register("sales-value", text)


def test_ids_stay_when_the_registry_is_opened_again(tmp_path: Path) -> None:
    first = FileSchemaRegistry(tmp_path).register("sales-value", FIRST)
    second = FileSchemaRegistry(tmp_path).register("sales-value", WIDER[0])

    again = FileSchemaRegistry(tmp_path)

    assert [again.register("sales-value", text) for text in (FIRST, WIDER[0])] == [first, second]


DEEP = "[" * 100_000 + "]" * 100_000


def test_a_file_that_is_nested_too_deep_is_a_schema_that_nobody_can_use(tmp_path: Path) -> None:
    registry = FileSchemaRegistry(tmp_path)
    first = registry.register("sales-value", FIRST)
    (tmp_path / "ids" / "7.json").write_text(DEEP)
    avro = AvroDecoder({"id": Int64()}, registry)

    (refusal,) = avro.decode(Payloads.of([b"\x00\x00\x00\x00\x07\x02"]), np.zeros(1, np.int64)).refused
    second = registry.register("other-value", sale(("id", "string")))

    expected = "schema 7: the schema's text is nested more than 256 deep"
    assert (refusal.reason, refusal.detail) == ("wrong_schema", expected)
    assert (first, second) == (1, 8)


def test_a_subject_whose_newest_schema_is_nested_too_deep_takes_none_and_says_so(tmp_path: Path) -> None:
    registry = FileSchemaRegistry(tmp_path)
    number = registry.register("sales-value", FIRST)
    (tmp_path / "ids" / f"{number}.json").write_text(DEEP)

    with pytest.raises(RejectedError, match=r"schema 1, whose records cannot be read: .* nested more than 256 deep"):
        registry.register("sales-value", FIRST)


@pytest.mark.parametrize("text", ["{", DEEP, '["a"]', "5"])
def test_a_damaged_list_of_versions_is_named(tmp_path: Path, text: str) -> None:
    registry = FileSchemaRegistry(tmp_path)
    registry.register("sales-value", FIRST)
    (tmp_path / "subjects" / "sales-value.json").write_text(text)

    with pytest.raises(IntegrityError, match=r"sales-value\.json is damaged"):
        registry.register("sales-value", FIRST)


def test_many_writers_at_once_agree_on_ids(tmp_path: Path) -> None:
    texts = [sale((f"f{number}", "long")) for number in range(6)]
    found: dict[str, set[int]] = {text: set() for text in texts}

    def write() -> None:
        for number, text in enumerate(texts):
            found[text].add(FileSchemaRegistry(tmp_path).register(f"subject-{number}", text))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert all(len(ids) == 1 for ids in found.values())
    assert len(set.union(*found.values())) == len(texts)


def test_referenced_schemas_come_each_after_those_it_names(server: RegistryServer) -> None:
    def named(name: str, *references: str) -> dict[str, Any]:
        texts = [{"name": other, "subject": other, "version": 1} for other in references]
        return {"schema": sale(("x", "long")).replace("Sale", name), "references": texts}

    server.others = {
        "/schemas/ids/9": named("Top", "B", "A"),
        "/subjects/A/versions/1": named("A"),
        "/subjects/B/versions/1": named("B", "A"),
    }

    found = HttpSchemaRegistry(server.url).schema(9)

    assert found is not None
    assert [json.loads(text)["name"] for text in found.references] == ["A", "B"]


def test_schemas_that_name_each_other_end(server: RegistryServer) -> None:
    loop = {"schema": FIRST, "references": [{"name": "A", "subject": "A", "version": 1}]}
    server.others = {"/schemas/ids/9": loop, "/subjects/A/versions/1": loop}

    assert HttpSchemaRegistry(server.url).schema(9) is not None


def test_another_kind_of_schema_is_named(server: RegistryServer) -> None:
    server.others = {"/schemas/ids/9": {"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"}}

    assert HttpSchemaRegistry(server.url).schema(9) == WriterSchema("PROTOBUF", 'syntax = "proto3";')


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 503])
def test_an_answer_that_is_no_registrys_is_no_answer(server: RegistryServer, status: int) -> None:
    """Above all not "no such schema": good messages would be refused."""
    server.failing = status

    with pytest.raises(UnavailableError, match=r"schema_registry"):
        HttpSchemaRegistry(server.url).schema(1)


def test_nobody_there_and_nobody_answering_are_told_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(UnavailableError, match="does not answer"):
            HttpSchemaRegistry(f"http://127.0.0.1:{port}", timeout_s=0.2).schema(1)
    with pytest.raises(UnavailableError, match="does not answer"):
        HttpSchemaRegistry(f"http://127.0.0.1:{port}").schema(1)


def settings(home: Path, **section: str) -> Settings:
    return Settings(home=home, schema_registry=SchemaRegistrySettings(**section))


def test_credentials_come_from_a_file_and_are_never_shown(server: RegistryServer, tmp_path: Path) -> None:
    server.credentials = "stream:se:cret"
    (tmp_path / "credentials").write_text("stream:se:cret\n", encoding="utf-8")
    given = settings(tmp_path, url=server.url, credentials_file=str(tmp_path / "credentials"))

    number = open_registry(given).register("sales-value", FIRST)

    assert number == 1
    with pytest.raises(UnavailableError) as refused:
        HttpSchemaRegistry(server.url, credentials=("stream", "wrong")).schema(1)
    assert "wrong" not in str(refused.value)
    assert "cret" not in repr(given)


def test_settings_that_cannot_work_say_why(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for section in (
        {"url": "http://user:secret@127.0.0.1"},
        {"url": "http://127.0.0.1", "credentials_file": str(tmp_path / "none")},
        {"url": "http://127.0.0.1", "credentials_file": str(tmp_path / "empty")},
        {"url": "https://127.0.0.1", "ca_file": str(tmp_path / "none")},
    ):
        with pytest.raises(ConfigError) as refused:
            open_registry(settings(tmp_path, **section))
        assert "secret" not in str(refused.value)


def test_without_an_address_schemas_lie_in_the_home(tmp_path: Path) -> None:
    open_registry(settings(tmp_path)).register("sales-value", FIRST)

    assert (tmp_path / "data" / "schemas" / "ids" / "1.json").exists()


def test_a_registry_that_is_away_is_waited_for(server: RegistryServer) -> None:
    number = server.schemas.register("sales-value", FIRST)
    server.failing = 503
    patient = PatientRegistry(HttpSchemaRegistry(server.url), threading.Event())
    found: list[WriterSchema | None] = []
    waiting = threading.Thread(target=lambda: found.append(patient.schema(number)), daemon=True)
    waiting.start()
    eventually(lambda: len(server.requests) > 1, what="the registry is asked again")
    before = list(found)

    server.failing = 0
    waiting.join()

    assert before == []
    assert found[0] is not None


def test_waiting_ends_when_the_worker_is_told_to_stop(server: RegistryServer) -> None:
    server.failing = 503
    stop = threading.Event()
    stop.set()

    with pytest.raises(StoppedWaitingError):
        PatientRegistry(HttpSchemaRegistry(server.url), stop).schema(1)
