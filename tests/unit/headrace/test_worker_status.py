"""``headrace status`` shows the stream workers of a home, and which of them must be started again."""

import json
from pathlib import Path

import pytest

from feature_store.definitions.registered_views import write_registered
from headrace.cli.main import main
from headrace.config import Settings
from headrace.spec.project import load_project
from streams.worker_lock import take_place

DEFINITIONS = """
from headrace import EventStream, FeatureView, Int64, count
clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64})
use = FeatureView("use", entity="user", source=clicks, features=[count().over("%s")])
"""


def test_a_worker_that_began_with_other_definitions_is_to_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home, folder = tmp_path / "home", tmp_path / "shop"
    monkeypatch.setenv("HEADRACE_HOME", str(home))
    folder.mkdir()
    settings = Settings(home=home)
    place = take_place(settings, "shop")
    (folder / "clicks.py").write_text(DEFINITIONS % "1h")
    place.say(metrics="http://127.0.0.1:9/metrics", views={"use": "of yesterday"})

    def shown() -> str:
        assert main(["status"]) == 1, "the stack of this home is down"
        return " ".join(capsys.readouterr().out.split())

    assert "stream running http://127.0.0.1:9/metrics shop" in shown()
    assert "registered" not in shown(), "nobody has applied anything"
    write_registered(settings, load_project(folder))
    assert "others are registered of use: a worker learns definitions when it begins; stop and start" in shown()
    assert main(["status", "--json"]) == 1
    (worker,) = json.loads(capsys.readouterr().out)["stream_workers"]
    assert (worker["project"], worker["restart"]) == ("shop", ["use"])

    place.give_up()
    assert "stream" not in shown()
