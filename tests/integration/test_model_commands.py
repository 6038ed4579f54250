"""From an offline log to a registered model with four commands."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from headrace import load_project
from headrace.artifact_format import LoadedModel
from headrace.cli.main import main
from headrace.config import load_settings

DAY_US = 86_400_000_000
START_US = 18_262 * DAY_US  # 2020-01-01
ROWS = 3000

PROJECT = """
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, Model, TorchClassifier, count

clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "price": Float64})
bought = LabelStream("bought", of=clicks, value="buys", delay="1d")
habit = FeatureView("habit", entity="user", source=clicks, closed="right", features=[count().over("1d")])
purchase = Model(
    "purchase",
    features=[habit, "price"],
    label=bought,
    trainer=TorchClassifier(hidden=(4,), epochs=4, batch_rows=128, learning_rate=0.02),
)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project and a log of thirty days in which cheap things are bought."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.py").write_text(PROJECT)
    stream = load_project(folder).only_stream()
    generator = np.random.default_rng(0)
    times = START_US + np.sort(generator.integers(0, 30 * DAY_US, ROWS))
    price = generator.uniform(0, 10, ROWS)
    origin = {"_partition": np.zeros(ROWS, np.int32), "_offset": np.arange(ROWS), "_late": np.zeros(ROWS, bool)}
    events = {"user": np.arange(ROWS) % 50, "price": price, "click": np.arange(ROWS), "at": times, "_arrival": times}
    buys = (price + generator.normal(0, 1, ROWS) < 2).astype(np.int64)
    labels = {"click": np.arange(ROWS), "buys": buys, "_arrival": times + DAY_US}
    root = load_settings().offline_dir
    for kind, name, schema, columns in (
        ("events", "clicks", event_schema(stream), events),
        ("labels", "bought", label_schema(load_project(folder).models[0].label), labels),
    ):
        table = pa.table({field.name: pa.array({**columns, **origin}[field.name]).cast(field.type) for field in schema})
        write_segment(table.cast(schema), log_folder(root, "shop", kind, name, 0), 0, ROWS - 1)
    return folder


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main([*words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_dataset_train_models(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--from", "2020-01-02T00:00:00Z", "--until", "2020-01-20T00:00:00Z")
    dataset = _json(capsys, "dataset", "build", "--project", str(project), *span)
    assert dataset["features"] == ["habit__count_1d", "price"]
    assert dataset == _json(capsys, "dataset", "show", str(dataset["dataset_id"]))
    assert dataset == _json(capsys, "dataset", "verify", str(dataset["dataset_id"]), "--project", str(project))

    trained = _json(capsys, "train", "--project", str(project), "--dataset", str(dataset["dataset_id"]))

    assert trained["version"] == "v1"
    assert trained["dataset_hash"] == dataset["content_hash"]
    loaded = LoadedModel.load(load_settings().models_dir / "purchase" / "v1")
    assert loaded.score(np.array([[3.0, 0.5]]))[0] > 0.5 > loaded.score(np.array([[3.0, 9.0]]))[0]

    listed = _json(capsys, "models", "list")
    assert [entry["version"] for entry in listed["purchase"]] == ["v1"]  # type: ignore[attr-defined]  # a list
    shown = _json(capsys, "models", "show", "--model", "purchase", "v1")
    assert shown["tags"]["dataset_id"] == dataset["dataset_id"]  # type: ignore[index]  # a mapping
    for words in (["models", "list"], ["models", "show", "--model", "purchase"]):
        assert main(words) == 0
        assert "v1" in capsys.readouterr().out


def test_a_build_prints_what_was_asked_for(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--project", str(project), "--from", "2020-01-02T00:00:00Z", "--until", "2020-01-20T00:00:00Z")
    first = _json(capsys, "dataset", "build", *span, "--as-of", "2020-03-01T00:00:00Z")

    other = _json(capsys, "dataset", "build", *span, "--as-of", "2020-04-01T00:00:00Z", "--mode", "corrected")

    assert (other["mode"], other["as_of_us"]) == ("corrected", first["as_of_us"] + 31 * DAY_US)  # type: ignore[operator]  # a number
    assert other == _json(capsys, "dataset", "show", str(other["dataset_id"]))
    assert first == _json(capsys, "dataset", "verify", str(first["dataset_id"]), "--project", str(project))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset", "show", "purchase-000000000000"], "no data set 'purchase-000000000000'"),
        (["dataset", "build", "--from", "2020-01-02", "--until", "2020-01-20T00:00:00Z"], "--from: timestamp"),
        (
            ["dataset", "build", "--from", "2021-01-02T00:00:00Z", "--until", "2021-01-20T00:00:00Z"],
            "has a label known at",
        ),
        (
            [
                *("dataset", "build", "--from", "2020-01-02T00:00:00Z", "--until", "2020-01-20T00:00:00Z"),
                *("--as-of", "2999-01-01T00:00:00Z"),
            ],
            "as of 2999-01-01T00:00:00Z is in the future",
        ),
        (["train", "--dataset", "../../etc"], "no data set '../../etc'"),
        (["train", "--dataset", "x", "--model", "price"], "model 'price' is not defined"),
    ],
)
def test_wrong_use_is_one_sentence(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    where = [] if words[1] == "show" else ["--project", str(project)]

    assert main([*words, *where]) == 1
    assert message in capsys.readouterr().err
