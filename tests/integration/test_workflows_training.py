"""The real worker with its real activities: offline log in, trained, judged, registered, in service.

One process is started as ``headrace run worker``; data set, torch, gates, MLflow and reference are the real ones.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from headrace.config import Settings
from headrace.contracts.control import ControllerStart, ControllerState, OperatorCommand
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.rollout_store import RolloutStore
from headrace.spec.project import Project, load_project
from headrace.temporal_client import ask, controller_state, send_command
from monitors.reference import load_reference, reference_path
from tests.eventually import eventually
from trainers.registry import ModelRegistry

DAY_US = 86_400_000_000
START_US = 17_600 * DAY_US
DAYS = 30
PATIENCE_S = 120.0

DEFINITIONS = """
from headrace import *

clicks = EventStream("CLICKS", key="user", time="at", id="click", schema={"user": Int64, "price": Float64})
bought = LabelStream("BOUGHT", of=clicks, value="buys", delay="1d")
habit = FeatureView("habit", entity="user", source=clicks, closed="right", features=[count().over("1d", "3d")])
model = Model(
    "MODEL",
    features=[habit, "price"],
    label=bought,
    trainer=TorchClassifier(hidden=(8,), epochs=3, batch_rows=128, learning_rate=2e-2),
    gates=[AtLeast("average_precision", 0.3), Calibration(max_error=0.2), Latency(p99_ms=500.0)],
    retrain=RetrainPolicy(history="12d", test="4d", min_rows=500, min_positives=30),
)
"""


@pytest.fixture
def settings(stack: Settings, tmp_path: Path) -> Settings:
    """The stack's servers with a home of our own."""
    return replace(stack, home=tmp_path / "home")


@pytest.fixture
def project(tmp_path: Path, fresh_name: Callable[[str], str]) -> Project:
    folder = tmp_path / fresh_name("shop")
    folder.mkdir()
    text = DEFINITIONS
    for name in ("CLICKS", "BOUGHT", "MODEL"):
        text = text.replace(f'"{name}"', f'"{fresh_name(name.lower())}"')
    (folder / "shop.py").write_text(text)
    return load_project(folder)


@pytest.fixture
def worker(settings: Settings, project: Project) -> Iterator[subprocess.Popen[bytes]]:
    """``headrace run worker``, stopped with SIGTERM at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace", "run", "worker", "--project", str(project.path)],
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            "HEADRACE_HOME": str(settings.home),
            "HEADRACE_TEMPORAL_ADDRESS": settings.temporal.address,
            "HEADRACE_REDIS_URL": settings.redis.url,
            "HEADRACE_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "HEADRACE_TRAIN_DEVICE": "cpu",
        },
    )
    yield process
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def write_log(settings: Settings, project: Project) -> None:
    """Clicks of 40 users over a month; who pays much buys."""
    generator = np.random.default_rng(0)
    rows = 4000
    price = generator.gamma(2, 30, rows)
    times = START_US + np.sort(generator.integers(0, DAYS * DAY_US, rows))
    numbers = np.arange(rows)
    events = {
        "user": generator.integers(0, 40, rows),
        "price": price,
        "click": numbers,
        "at": times,
        "_arrival": times + 1000,
        "_partition": np.zeros(rows),
        "_offset": numbers,
        "_late": np.zeros(rows, bool),
    }
    labels = {
        "click": numbers,
        "buys": generator.random(rows) < 1 / (1 + np.exp(-(price - 110) / 10)),
        "_arrival": times + DAY_US,
        "_partition": np.zeros(rows),
        "_offset": numbers,
    }
    stream, label = project.streams[0], project.labels[0]
    for kind, topic, schema, columns in (
        ("events", stream.name, event_schema(stream), events),
        ("labels", label.name, label_schema(label), labels),
    ):
        arrays = [
            pa.array(columns[field.name].astype(np.int64 if field.name != "price" else float)) for field in schema
        ]
        table = pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema=schema)
        folder = log_folder(settings.offline_dir, project.name, kind, topic, 0)  # type: ignore[arg-type]  # a literal
        write_segment(table, folder, 0, rows - 1)


def test_a_real_model_is_trained_judged_registered_and_followed_by_a_rollout(
    settings: Settings, project: Project, worker: subprocess.Popen[bytes]
) -> None:
    write_log(settings, project)
    model = project.models[0].name
    start = ControllerStart(project=str(project.path), model=model)
    store = RolloutStore(settings.redis.url)

    def retrain(day: int) -> None:
        command = OperatorCommand(action="retrain", by="anna", reason="by hand", at_us=START_US + day * DAY_US)
        ask(settings, lambda client: send_command(client, start, command))

    def state() -> ControllerState | None:
        assert worker.poll() is None, "the worker died"
        return ask(settings, lambda client: controller_state(client, model))

    def record() -> RolloutRecord | None:
        assert worker.poll() is None, "the worker died"
        return store.read(model)

    retrain(day=3)
    short = eventually(lambda: (now := state()) and now.history and now, timeout_s=PATIENCE_S, what="an answer")
    eventually(lambda: "not enough labels" in str(state()), timeout_s=PATIENCE_S)
    assert short.model == model

    retrain(day=20)
    first = eventually(record, timeout_s=PATIENCE_S, what="a first record")
    assert (first.champion, first.stage, first.at_us) == ("v1", Stage.STEADY, START_US + 20 * DAY_US)
    reference = load_reference(reference_path(settings, model, "v1"))
    assert reference.version == "v1"
    registry = ModelRegistry(settings)
    eventually(lambda: registry.aliases(model) == {"champion": "v1", "last-known-good": "v1"}, timeout_s=PATIENCE_S)

    retrain(day=30)
    trial = eventually(
        lambda: (now := record()) and now.stage is Stage.SHADOW and now, timeout_s=PATIENCE_S, what="a shadow record"
    )
    assert (trial.champion, trial.challenger) == ("v1", "v2")
    versions = {version.version: version for version in registry.versions(model)}
    assert versions["v2"].tags["gates"] == "passed"
    assert versions["v2"].tags["cause"] == "anna: by hand"
    eventually(lambda: registry.aliases(model).get("challenger") == "v2", timeout_s=PATIENCE_S)
    store.close()
