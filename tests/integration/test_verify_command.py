"""``headrace verify`` over a real prediction log, a real event log and real rows online."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema
from feature_store.online.online_layout import (
    encode_timestamp,
    encode_value,
    entity_key,
    feature_field,
    row_field,
    timestamp_field,
)
from feature_store.online.redis_online import OnlineWriter, connect
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from headrace.cli.main import main
from headrace.config import Settings
from headrace.contracts.codec import encode
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.streams import SourceProgress, ViewProgress
from headrace.contracts.topics import PREDICTIONS, keyed_topic
from headrace.kafka_clients import ensure_topics, partition_counts
from headrace.kafka_sender import Sender
from headrace.spec.project import Project, load_project
from streams.progress import Progress, wait_applied

MINUTE = 60_000_000
START = 1_600_000_000_000_000
DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, Model, count, last_k, mean

pay = EventStream("pay", key="card", time="at", id="id", schema={"card": Int64, "eur": Float64(resolution=0.01)})
fraud = LabelStream("pay-fraud", of=pay, value="fraud", delay="1d")
features = [count().over("1h"), mean("eur").over("1h")]
spend = FeatureView("spend", entity="card", source=pay, closed="right", features=features)
recent = FeatureView("recent", entity="card", source=pay, closed="right", features=[last_k("eur", 2).over("1h")])
model = Model("NAME", features=[spend, "eur"], label=fraud)
"""


@dataclass
class House:
    settings: Settings
    project: Project

    def log_events(self, rows: list[tuple[int, int, int, float]]) -> None:
        """Rows are (id, card, minute, eur)."""
        schema = event_schema(self.project.streams[0])
        n = len(rows)
        columns = {
            "id": [row[0] for row in rows], "card": [row[1] for row in rows], "eur": [row[3] for row in rows],
            "at": [START + row[2] * MINUTE for row in rows], "_arrival": [START + row[2] * MINUTE for row in rows],
            "_partition": [0] * n, "_offset": list(range(n)), "_late": [False] * n,
        }  # fmt: skip
        table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names})
        write_segment(table, log_folder(self.settings.offline_dir, self.project.name, "events", "pay", 0), 0, n - 1)

    def log_prediction(self, number: int, card: int, minute: int, eur: float, features: list[float | None]) -> None:
        record = PredictionRecord(
            model=self.project.models[0].name, prediction_id=f"{number}/http", event_id=str(number),
            event_us=START + minute * MINUTE, unit=str(card), entities={"card": str(card)},
            event={"id": number, "card": card, "eur": eur, "at": START + minute * MINUTE},
            features=dict(zip(self.project.models[0].feature_names, features, strict=True)),
            views={"spend": {"status": "PRESENT", "own_event": "merged"}},
            served_version="1", score=0.5, flagged=False, scores={}, latency_us={}, fallback="", epoch=1,
            stage="steady", source="http", at_us=0,
        )  # fmt: skip
        ensure_topics(self.settings, [PREDICTIONS])
        sender = Sender(self.settings)
        sender.send(PREDICTIONS.name, encode(record), key=record.unit.encode())
        sender.flush()

    def tamper(self, card: int, contents: dict[bytes, bytes | None]) -> None:
        """Set fields of a stored row by hand, or take them away; what is given is the bytes."""
        key = entity_key("card", card, self.project.name)
        client = connect(self.settings.redis.url)
        for field, data in contents.items():
            if data is None:
                client.hdel(key, field)
            else:
                client.hset(key, field, data)
        client.close()

    def write_online(self, rows: list[tuple[int, int, int, float]]) -> None:
        ids, cards, minutes = (np.array([row[i] for row in rows], np.int64) for i in range(3))
        steps = np.array([[round(row[3] * 100) for row in rows]], np.int64)
        with OnlineWriter(self.settings.redis.url, self.project.name) as writer:
            for plan in map(compile_view, self.project.views):
                state = ViewState(plan)
                state.apply(cards, START + minutes * MINUTE, ids, steps)
                writer.write(plan, state.drain(log=False).latest, version=1, watermark_us=START)


@pytest.fixture
def house(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> House:
    folder = tmp_path / fresh_name("cards")
    folder.mkdir()
    (folder / "cards.py").write_text(DEFINITIONS.replace("NAME", folder.name))
    settings = replace(stack, home=tmp_path / "home")
    monkeypatch.setenv("HEADRACE_HOME", str(settings.home))
    monkeypatch.setenv("HEADRACE_KAFKA_BOOTSTRAP", settings.kafka.bootstrap)
    monkeypatch.setenv("HEADRACE_REDIS_URL", settings.redis.url)
    return House(settings, load_project(folder))


EVENTS = [(1, 7, 0, 10.0), (2, 7, 30, 20.0), (3, 8, 40, 5.5)]


def _verify(house: House, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    code = main(["verify", "--project", str(house.project.path), "--wait", "0", "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def test_predictions_that_were_right_are_found_right(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.log_prediction(2, 7, 30, 20.0, [2.0, 15.0, 20.0])
    house.log_prediction(9, 7, 45, 30.0, [3.0, 20.0, 30.0])  # an event that was never published

    code, found = _verify(house, capsys)

    assert (code, found["compared"], found["mismatches"]) == (0, 6, 0)


def test_one_wrong_value_is_named_and_fails_the_command(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.log_prediction(2, 7, 30, 20.0, [1.0, 15.0, 20.0])
    house.log_prediction(3, 8, 40, 5.5, [1.0, 5.5, 5.5])

    code, found = _verify(house, capsys)

    assert (code, found["compared"], found["mismatches"]) == (1, 6, 1)
    assert found["parts"][0]["examples"] == [
        {
            "of": "2/http", "feature": "spend__count_1h", "at_us": START + 30 * MINUTE, "logged": 1.0,
            "recomputed": 2.0,
        }
    ]  # fmt: skip


def test_a_sample_is_the_same_every_time(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    for number in range(10, 20):
        house.log_prediction(number, 7, 45, 30.0, [float(number), 20.0, 30.0])

    first, again = (_verify(house, capsys, "--sample", "3") for _ in range(2))

    assert first == again
    assert first[1]["parts"][0]["rows"] == 3


def test_rows_online_are_compared_and_lost_ones_found(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.write_online(EVENTS[:2])

    code, found = _verify(house, capsys, "--online")

    ours, feast = found["parts"]
    # Four cells of each of two keys; Feast reads a timestamp of each view beside them. Card 8 has one recent payment.
    assert (code, ours["compared"], ours["mismatches"]) == (1, 8, 3)
    assert (feast["compared"], feast["mismatches"]) == (12, 5)
    assert ours["skipped"] == {"without a row": 2}

    house.write_online(EVENTS)
    code, found = _verify(house, capsys, "--online")
    assert (code, found["mismatches"]) == (0, 0)


SPEND, RECENT = timestamp_field("spend"), timestamp_field("recent")
COUNT, LAST = feature_field("spend", "count_1h"), feature_field("recent", "last_2_eur_1h")
AT = START + 30 * MINUTE


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({COUNT: encode_value(9, is_int=True)}, [("spend__count_1h", 9.0, 2.0)]),
        ({COUNT: b""}, [("spend__count_1h", None, 2.0)]),
        ({COUNT: None}, [("spend__count_1h", None, 2.0)]),
        ({COUNT: encode_value(2.0, is_int=False)}, [("spend__count_1h", None, 2.0)]),  # the number, in another type
        ({COUNT: b"nonsense"}, [("spend__count_1h", None, 2.0)]),
        ({LAST: encode_value([20.0, 11.0], is_int=False)}, [("recent__last_2_eur_1h[1]", 11.0, 10.0)]),
        ({LAST: encode_value([20.0], is_int=False)}, [("recent__last_2_eur_1h[1]", None, 10.0)]),
        ({SPEND: encode_timestamp(AT + 1)}, [("_ts:spend", AT + 1.0, float(AT))]),
        ({RECENT: None}, [("_ts:recent", None, float(AT))]),
    ],
)
def test_what_feast_reads_is_compared_too(
    house: House,
    capsys: pytest.CaptureFixture[str],
    fields: dict[bytes, bytes | None],
    named: list[tuple[str, float | None, float]],
) -> None:
    house.log_events(EVENTS)
    house.write_online(EVENTS)
    house.tamper(7, fields)

    code, found = _verify(house, capsys, "--online")

    ours, feast = found["parts"]
    assert (code, ours["mismatches"], feast["mismatches"]) == (1, 0, len(named))
    assert feast["of"] == "rows online as Feast reads them"
    shown = [(example["feature"], example["logged"], example["recomputed"]) for example in feast["examples"]]
    assert shown == named
    assert {(example["of"], example["at_us"]) for example in feast["examples"]} == {("7", AT)}


def test_a_row_that_only_feast_still_has_is_compared_at_its_timestamp(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.log_events(EVENTS)
    house.write_online(EVENTS)
    house.tamper(7, {row_field("spend"): None})

    code, found = _verify(house, capsys, "--online")

    ours, feast = found["parts"]
    assert (code, ours["mismatches"], feast["mismatches"]) == (1, 2, 0)


def test_people_are_told_who_reads_what(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.write_online(EVENTS)
    house.tamper(7, {COUNT: encode_value(9, is_int=True), SPEND: encode_timestamp(START)})

    assert main(["verify", "--project", str(house.project.path), "--wait", "0", "--online"]) == 1

    said = capsys.readouterr().out
    assert "7 at 2020-09-13T12:56:40Z: spend__count_1h as Feast reads it 9.0, recomputed 2.0" in said
    assert "_ts:spend as Feast reads it 2020-09-13T12:26:40Z, recomputed 2020-09-13T12:56:40Z" in said
    assert "4 rows online as Feast reads them" in said


def test_with_a_model_the_rows_it_reads_are_checked(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.write_online(EVENTS)

    code, found = _verify(house, capsys, "--online", "--model", house.project.models[0].name)

    names = [check["name"] for check in found["parts"][0]["features"]]
    assert (code, names) == (0, ["spend__count_1h", "spend__mean_eur_1h"])


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["--online", "--sample", "-5"], "--sample is -5", "at least 1"),
        (["--online", "--sample", "0"], "--sample is 0", "at least 1"),
        (["--sample", "-5"], "--sample is -5", "at least 1"),
        (["--online", "--model", "nope"], "'nope' is not defined", ""),
    ],
)
def test_wrong_use_is_one_sentence(
    house: House, capsys: pytest.CaptureFixture[str], words: list[str], says: str, hint: str
) -> None:
    assert main(["verify", "--project", str(house.project.path), "--wait", "0", *words]) == 1

    said = capsys.readouterr().err
    assert says in said
    assert hint in said


@pytest.mark.parametrize(
    ("words", "says"), [([], "are logged yet"), (["--online"], "holds no key to check")], ids=["logged", "online"]
)
def test_with_nothing_to_compare_the_next_step_is_said(
    house: House, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    command = ["verify", "--project", str(house.project.path), "--wait", "0", *words]

    assert main([*command, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["compared"] == 0
    assert says in told.err
    assert "hint: " in told.err

    assert main(command) == 0
    assert capsys.readouterr().out.strip() == "0 values compared, 0 mismatches"


def test_people_get_a_table(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.log_prediction(2, 7, 30, 20.0, [2.0, 15.0, 20.0])

    assert main(["verify", "--project", str(house.project.path), "--wait", "0"]) == 0

    assert "3 values compared, 0 mismatches" in capsys.readouterr().out


def test_waiting_says_how_many_messages_are_through(house: House) -> None:
    """Card 7's view has applied 4 of 10 payments and 9 are durable; no view reads labels, of which 5 of 6 are."""
    settings, project = house.settings, house.project
    keyed = keyed_topic(project.name, "card")
    ensure_topics(settings, [keyed])
    (partitions,) = partition_counts(settings, [keyed.name]).values()
    progress, told = Progress(settings.redis.url, project.name), []

    def report(pay: int, durable: int, labels: int) -> None:
        progress.write(
            views=[
                ViewProgress(
                    view=view.name, partition=number, keyed_offset=0, watermark_us=0, sources={"pay:0": pay - 1},
                    rows=0, at_us=0,
                )
                for view in project.views
                for number in range(partitions)
            ],
            sources=[
                SourceProgress(
                    topic=topic, partition=0, offset=offset, newest_us=0, rows=0, dead_letters={}, at_us=0
                )
                for topic, offset in (("pay", durable), ("pay-fraud", labels))
            ],
        )  # fmt: skip

    report(4, 9, 5)
    wait_applied(
        settings,
        project,
        offsets={("pay", 0): 10, ("pay-fraud", 0): 6},
        durable=True,
        timeout_s=30,
        check=lambda: report(10, 10, 6),
        track=lambda missing, done, total: told.append((missing.partition(" up to")[0], done, total)),
    )
    progress.close()

    assert told[0] == ("spend:0 has not applied pay:0", 9, 16)


def test_waiting_for_a_stream_that_never_ran_says_for_what(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--project", str(house.project.path), "--wait", "1.5"]) == 1

    missing = f"topic {keyed_topic(house.project.name, 'card').name} does not exist"
    assert capsys.readouterr().err.count(f"verify    waits up to 1.5 s for the stream: {missing}\n") == 1
