"""The shape of the tree: small files named by their noun, empty package files, no leftovers."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_MOST_LINES = 400
_NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
_LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")


def test_package_files_are_empty_except_the_public_door(sources: list[Path]) -> None:
    door = _ROOT / "headrace" / "__init__.py"
    filled = [path for path in sources if path.name == "__init__.py" and path != door and path.stat().st_size]

    assert filled == []


def test_no_file_is_longer_than_one_responsibility(sources: list[Path]) -> None:
    long = {str(path): count for path in sources if (count := len(path.read_text().splitlines())) > _MOST_LINES}

    assert long == {}


def test_every_file_has_a_noun(sources: list[Path]) -> None:
    assert [path for path in sources if path.stem in _NAMELESS] == []


def test_every_file_says_what_it_is_for(sources: list[Path]) -> None:
    silent = [path for path in sources if path.stat().st_size and not path.read_text().startswith('"""')]

    assert silent == []


def test_nothing_is_left_for_later(sources: list[Path]) -> None:
    left = [f"{path}: {found.group()}" for path in sources if (found := _LEFTOVERS.search(path.read_text()))]

    assert left == []


def test_the_environment_is_read_in_one_place(sources: list[Path]) -> None:
    """os.environ and os.getenv belong to headrace/config.py; passing the environment on is no reading."""
    reads = re.compile(r"os\.getenv|os\.environ(\.get|\[(?!.*\]\s*=))|environ\[")
    found = [path for path in sources if reads.search(path.read_text())]

    assert [path for path in found if path != _ROOT / "headrace" / "config.py"] == []


def test_examples_in_docstrings_are_true(sources: list[Path]) -> None:
    failed = {}
    for path in sources:
        if ">>> " not in path.read_text():
            continue
        name = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
        outcome = doctest.testmod(importlib.import_module(name))
        if outcome.failed:
            failed[name] = outcome

    assert failed == {}


@pytest.mark.parametrize("pattern", [r"/work/", r"/root/"])
def test_no_path_of_a_developers_machine(pattern: str, sources: list[Path]) -> None:
    assert [path for path in sources if re.search(pattern, path.read_text())] == []
