"""``headrace rollout`` and ``headrace retrain`` against a live controller, and without Temporal."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.cli.main import main
from headrace.config import Settings
from headrace.contracts.rollout import Stage
from tests.eventually import eventually
from tests.integration.workflow_world import GOOD, Script, World

DEFINITIONS = """
from headrace import *

clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "price": Float64})
bought = LabelStream("bought", of=clicks, value="buys", delay="1d")
model = Model("MODEL", features=["price"], label=bought)
"""

Call = Callable[..., int]


@pytest.fixture
def world(stack: Settings, fresh_name: Callable[[str], str]) -> Iterator[World]:
    made = World(stack, fresh_name("model"), Script(gates=[True]))
    yield made
    made.close()


@pytest.fixture
def call(stack: Settings, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command on the world's model."""
    monkeypatch.setenv("HEADRACE_HOME", str(stack.home))
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "shop.py").write_text(DEFINITIONS.replace("MODEL", world.model))
    return lambda *words: main([*words, "--project", str(folder)])


def test_status_and_history_say_who_answers_and_why(
    world: World, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("rollout", "status") == 0
    assert "no champion yet" in capsys.readouterr().out
    world.first_model()
    world.drift()
    assert call("rollout", "status") == 0
    shown = capsys.readouterr().out
    assert call("rollout", "status", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert call("rollout", "history") == 0
    history = capsys.readouterr().out

    assert "champion    v1" in shown
    assert "shadow v2" in shown
    assert (told["record"]["challenger"], told["controller"]["phase"]) == ("v2", "rolling_out")
    assert "champion  v1" in history
    assert "shadow" in history


def test_a_person_retrains_steers_and_goes_back(world: World, call: Call) -> None:
    world.day()
    assert call("retrain", "--reason", "a first one") == 0
    eventually(lambda: world.state().champion == "v1")
    assert call("rollout", "override", "--version", "v9", "--by", "ben", "--reason", "trust me") == 0
    eventually(lambda: world.store.history(world.model)[-1].kind == "override")
    assert call("rollout", "promote", "--by", "ben") == 0
    eventually(lambda: world.record().stage is Stage.CANARY)
    world.day(GOOD)
    assert call("rollout", "rollback", "--by", "ben") == 0
    eventually(lambda: world.record().stage is Stage.STEADY)

    assert (world.record().champion, world.record().written_by) == ("v1", "ben")


def test_what_is_not_possible_is_refused_in_one_sentence(
    world: World, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("promote",), ("pause",), ("approve",), ("rollback",), ("override", "--version", "v1")):
        assert call("rollout", *words) == 1
        assert "no champion yet" in capsys.readouterr().err
    world.first_model()
    for words in (("promote",), ("pause",), ("approve",), ("rollback",), ("override", "--version", "v1")):
        assert call("rollout", *words) == 1
        assert world.model in capsys.readouterr().err

    assert world.kinds() == ["champion"]


def test_rollback_works_without_temporal(
    world: World, call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is written at once; the workflow finds it later and follows."""
    world.first_model()
    world.drift()
    world.day(GOOD)
    with monkeypatch.context() as away:
        away.setenv("HEADRACE_TEMPORAL_ADDRESS", "127.0.0.1:1")
        assert call("rollout", "promote") == 1
        assert call("rollout", "status") == 0
        assert call("rollout", "rollback", "--by", "ben", "--reason", "it hurts") == 0
    said = capsys.readouterr().out
    state = world.day()

    assert "wrote the previous record directly" in said
    assert (world.record().champion, world.record().written_by) == ("v1", "ben")
    assert world.kinds()[-1] == "rollback"
    assert (state.champion, state.rollbacks) == ("v1", 1)
