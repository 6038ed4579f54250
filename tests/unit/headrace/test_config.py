"""Settings: precedence, types, and no silence about what is ignored."""

import json
from pathlib import Path

import pytest

from headrace.config import load_settings
from headrace.errors import ConfigError


def test_the_environment_beats_the_file_beats_the_stack_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stack = {"settings": {"kafka": {"bootstrap": "stack:1", "partitions": 2}, "redis": {"url": "redis://stack"}}}
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    (tmp_path / "headrace.toml").write_text('[kafka]\nbootstrap = "file:1"\n[serve]\nport = 7\n')

    settings = load_settings(tmp_path, {"HEADRACE_SERVE_PORT": "8"})

    assert settings.redis.url == "redis://stack"
    assert settings.kafka.bootstrap == "file:1"
    assert settings.kafka.partitions == 2
    assert settings.serve.port == 8
    assert settings.temporal.namespace == "default"


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"HEADRACE_SERVE_PORT": "http"}, "serve.port is 'http'; give an integer"),
        ({"HEADRACE_STREAM_SNAPSHOT_EVERY_S": "often"}, "stream.snapshot_every_s is 'often'; give a number"),
        ({"HEADRACE_CONFIG": "nowhere.toml"}, "nowhere.toml does not exist"),
        ({"HEADRACE_STREAM_MAX_DEPTH": "0"}, "stream.max_depth is 0; give 1 to 256"),
        ({"HEADRACE_STREAM_MAX_DEPTH": "deep"}, "stream.max_depth is 'deep'; give an integer"),
        ({"HEADRACE_STREAM_MAX_MESSAGE_BYTES": "67108865"}, "max_message_bytes is 67108865; give 64 to 67108864"),
        ({"HEADRACE_STREAM_MAX_ARROW_BYTES": "-1"}, "stream.max_arrow_bytes is -1; give 1024 to"),
        ({"HEADRACE_STREAM_MAX_ARROW_ROWS": "0"}, "stream.max_arrow_rows is 0; give 1 to"),
        ({"HEADRACE_STREAM_MAX_ARROW_PARTS": "1"}, "stream.max_arrow_parts is 1; give 2 to"),
        ({"HEADRACE_STREAM_MAX_SCHEMA_LOOKUPS": "0"}, "stream.max_schema_lookups is 0; give 1 to"),
        ({"HEADRACE_SERVE_MAX_JSON_DEPTH": "2"}, "serve.max_json_depth is 2; give 3 to 256"),
        ({"HEADRACE_SERVE_MAX_BATCH": "0"}, "serve.max_batch is 0; give 1 to"),
        ({"HEADRACE_SERVE_MAX_BODY_BYTES": "20"}, "serve.max_body_bytes is 20; give 1024 to"),
    ],
)
def test_a_wrong_value_names_the_setting(tmp_path: Path, environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_settings(tmp_path, environ)


@pytest.mark.parametrize(
    ("text", "warning"),
    [("[kafka]\nbroker = 'x'\n", r"kafka\.broker is unknown"), ("[kafak]\n", r"\[kafak\] is unknown")],
)
def test_an_ignored_setting_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, warning: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text(text)

    with pytest.warns(UserWarning, match=warning):
        load_settings(tmp_path, {})


def test_an_unknown_variable_warns(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="HEADRACE_KAFKA_BROKER is no setting"):
        load_settings(tmp_path, {"HEADRACE_KAFKA_BROKER": "x"})


def test_secrets_do_not_show(tmp_path: Path) -> None:
    environ = {
        "HEADRACE_REDIS_URL": "redis://:hunter2@host",
        "HEADRACE_PAGER_PAGERDUTY_KEY": "hunter2",
        "HEADRACE_SERVE_TOKEN": "hunter2",
    }

    assert "hunter2" not in repr(load_settings(tmp_path, environ))
