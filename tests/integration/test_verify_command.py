"""``headrace verify`` over a real prediction log, a real event log and real rows online."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema
from feature_store.online.redis_online import OnlineWriter
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from headrace.cli.main import main
from headrace.config import Settings
from headrace.contracts.codec import encode
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.topics import PREDICTIONS
from headrace.kafka_clients import ensure_topics
from headrace.kafka_sender import Sender
from headrace.spec.project import Project, load_project

MINUTE = 60_000_000
START = 1_600_000_000_000_000
DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, Model, count, mean

pay = EventStream("pay", key="card", time="at", id="id", schema={"card": Int64, "eur": Float64(resolution=0.01)})
fraud = LabelStream("pay-fraud", of=pay, value="fraud", delay="1d")
features = [count().over("1h"), mean("eur").over("1h")]
spend = FeatureView("spend", entity="card", source=pay, closed="right", features=features)
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

    def write_online(self, rows: list[tuple[int, int, int, float]]) -> None:
        plan = compile_view(self.project.views[0])
        state = ViewState(plan)
        ids, cards, minutes = (np.array([row[i] for row in rows], np.int64) for i in range(3))
        steps = np.array([[round(row[3] * 100) for row in rows]], np.int64)
        state.apply(cards, START + minutes * MINUTE, ids, steps)
        with OnlineWriter(self.settings.redis.url, self.project.name) as writer:
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


def _verify(house: House, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, object]]:
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

    assert (code, found["compared"], found["mismatches"]) == (1, 4, 2)
    assert found["parts"][0]["skipped"] == {"without a row": 1}

    house.write_online(EVENTS)
    code, found = _verify(house, capsys, "--online")
    assert (code, found["mismatches"]) == (0, 0)


def test_people_get_a_table(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.log_events(EVENTS)
    house.log_prediction(2, 7, 30, 20.0, [2.0, 15.0, 20.0])

    assert main(["verify", "--project", str(house.project.path), "--wait", "0"]) == 0

    assert "3 values compared, 0 mismatches" in capsys.readouterr().out
