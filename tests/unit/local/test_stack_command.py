"""The commands on a home without a stack."""

import json
import sys
from pathlib import Path

import pytest

from headrace.cli.main import main
from headrace.config import KafkaSettings, MlflowSettings, Settings
from headrace.errors import RejectedError
from headrace.local import examination, mlflow
from headrace.local.addresses import addresses_of, overridden, settings_of
from headrace.local.examination import Verdict, examine
from headrace.local.layout import Layout
from headrace.local.stack import EmbeddedStack

_PORTS = {"kafka": 1, "redis": 2, "temporal": 3, "temporal-ui": 4, "mlflow": 5}


def test_status_of_nothing_says_so_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--home", str(tmp_path)]) == 1
    assert "headrace up" in capsys.readouterr().out


def test_status_as_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", "--home", str(tmp_path), "--json"])

    said = json.loads(capsys.readouterr().out)
    nothing = {"supervisor_pid": None, "services": [], "is_up": False, "stream_workers": []}
    assert said == {"home": str(tmp_path), **nothing}


def test_down_of_nothing_makes_nothing(tmp_path: Path) -> None:
    assert main(["down", "--home", str(tmp_path / "home")]) == 0
    assert not (tmp_path / "home").exists()


def test_a_server_of_a_stopped_stack_cannot_be_started_alone(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match="does not run"):
        EmbeddedStack(tmp_path).start_service("kafka")


def test_every_address_lands_in_the_settings(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, _PORTS)

    assert settings.kafka.bootstrap == "127.0.0.1:1"
    assert settings.redis.url == "redis://127.0.0.1:2/0"
    assert settings.temporal.address == "127.0.0.1:3"
    assert settings.temporal.ui_url == "http://127.0.0.1:4"
    assert settings.mlflow.ui_url == "http://127.0.0.1:5"


def test_only_running_servers_are_published() -> None:
    assert set(addresses_of(_PORTS, {"kafka", "valkey"})) == {"kafka", "redis"}


def test_a_setting_that_hides_an_embedded_server_is_told(tmp_path: Path) -> None:
    hidden = Settings(home=tmp_path, kafka=KafkaSettings(bootstrap="elsewhere:9092"))

    (sentence,) = overridden(hidden, _PORTS, {"kafka"})

    assert sentence.startswith("kafka.bootstrap is set")


def test_the_mlflow_page_is_refused_for_a_tracking_server(tmp_path: Path) -> None:
    remote = Settings(home=tmp_path, mlflow=MlflowSettings(tracking_uri="https://mlflow.example"))

    with pytest.raises(RejectedError, match="a page of its own"):
        mlflow.build_service(Layout(tmp_path), _PORTS, remote)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that has its jars, so that nobody asks the network for them."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kafka-jars.json").write_text(json.dumps([__file__]))
    return tmp_path


def test_doctor_notes_a_stack_that_is_down_without_calling_it_wrong(home: Path) -> None:
    findings = list(examine(Settings(home=home)))

    (note,) = [each for each in findings if each.verdict is Verdict.NOTE]
    assert note.next_step == "start it with `headrace up`"


@pytest.mark.parametrize(("platform", "expected"), [("linux", [Verdict.NOTE]), ("darwin", [])])
def test_doctor_notes_a_missing_jemalloc_where_it_would_be_used(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, expected: list[Verdict]
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(examination, "find_allocator", lambda: None)

    assert [each.verdict for each in examine(Settings(home=home)) if "jemalloc" in each.sentence] == expected


def test_doctor_names_an_external_server_that_does_not_answer(home: Path) -> None:
    away = Settings(home=home, kafka=KafkaSettings(bootstrap="127.0.0.1:1"))

    wrong = [each for each in examine(away) if each.verdict is Verdict.WRONG]

    assert any("Kafka at 127.0.0.1:1 does not answer" in each.sentence and each.next_step for each in wrong)
