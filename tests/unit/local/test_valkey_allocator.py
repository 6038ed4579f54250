"""Which allocator the embedded Valkey gets: the machine's jemalloc, else one that a wheel carries, else none."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from headrace.local import valkey


@pytest.fixture
def wheel(tmp_path: Path) -> ModuleSpec:
    spec = ModuleSpec("ray", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path / "ray")]
    return spec


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


def test_the_machines_own_comes_first(monkeypatch: pytest.MonkeyPatch, wheel: ModuleSpec) -> None:
    monkeypatch.setattr(valkey, "find_library", lambda _name: "libjemalloc.so.2")
    monkeypatch.setattr(valkey, "find_spec", lambda _name: wheel)

    assert valkey.find_allocator() == "libjemalloc.so.2"


def test_the_one_of_a_wheel_is_taken_only_if_it_is_there(
    monkeypatch: pytest.MonkeyPatch, wheel: ModuleSpec, tmp_path: Path
) -> None:
    monkeypatch.setattr(valkey, "find_library", lambda _name: None)
    monkeypatch.setattr(valkey, "find_spec", lambda _name: wheel)
    assert valkey.find_allocator() is None

    carried = tmp_path / "ray" / "core" / "libjemalloc.so"
    carried.parent.mkdir(parents=True)
    carried.touch()
    assert valkey.find_allocator() == str(carried)


def test_without_either_the_c_library_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "find_library", lambda _name: None)
    monkeypatch.setattr(valkey, "find_spec", lambda _name: None)

    assert valkey.find_allocator() is None


@pytest.mark.skipif(valkey.find_allocator() is None, reason="no jemalloc here")
def test_what_is_found_can_be_preloaded() -> None:
    ran = subprocess.run(
        [str(valkey.find_binary()), "--version"],
        env={"LD_PRELOAD": str(valkey.find_allocator())},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stderr == ""
    assert "v=" in ran.stdout
