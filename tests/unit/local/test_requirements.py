"""What is missing is said in one sentence with the next step."""

import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from headrace.errors import ConfigError, UnavailableError
from headrace.local import requirements
from headrace.local.layout import Layout
from headrace.local.ports import HOST, choose_ports

_Usage = namedtuple("_Usage", "total used free")


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    occupied = tmp_path / "home"
    occupied.touch()

    with pytest.raises(ConfigError, match="cannot be created") as caught:
        requirements.check_home(occupied)

    assert "--home" in caught.value.hint


def test_a_home_is_created(tmp_path: Path) -> None:
    requirements.check_home(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


def test_a_full_disk_is_named_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(10**10, 10**10, 10**8))

    with pytest.raises(ConfigError, match=r"has 0\.1 GB free; the stack needs 2 GB"):
        requirements.check_disk(tmp_path / "not" / "yet")


def test_a_taken_port_names_its_server_and_its_owner(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    port = choose_ports(layout).ports["temporal"]

    with socket.create_server((HOST, port)), pytest.raises(UnavailableError, match=rf"{port} of temporal by .*pid"):
        requirements.check_ports(layout)


def test_programs_and_java_of_this_environment_are_found() -> None:
    assert "Java" in requirements.check_java()
    assert requirements.check_programs()
    assert requirements.check_python().startswith("Python 3.1")
