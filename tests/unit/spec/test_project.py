"""Projects are folders of definitions; a version is a fingerprint of content."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headrace import count
from headrace.errors import ConfigError, DefinitionError
from headrace.spec.project import fingerprint, load_project

FRAUD = Path(__file__).parents[3] / "examples" / "fraud"


def test_the_fraud_example_declares_what_its_readers_expect() -> None:
    project = load_project(FRAUD)

    assert project.name == "fraud"
    assert [view.name for view in project.views] == ["customer_activity", "terminal_risk"]
    assert len(project.model("fraud").feature_names) == 15
    assert project.labels_of(project.stream("transactions")) is project.model("fraud").label


def test_a_fingerprint_changes_with_the_content_and_only_with_it() -> None:
    first, again = load_project(FRAUD), load_project(FRAUD)
    changed = replace(first.view("customer_activity"), features=count().over("2d"))

    assert fingerprint(*first.views, *first.requests) == fingerprint(*again.views, *again.requests)
    assert fingerprint(changed) != fingerprint(first.view("customer_activity"))


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        load_project(FRAUD).model("froud")

    assert "'froud'" in str(caught.value)
    assert "fraud" in caught.value.hint


def test_a_folder_without_definitions_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Python file"):
        load_project(tmp_path)


def test_a_path_that_does_not_exist_is_not_called_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nope does not exist"):
        load_project(tmp_path / "nope")


def test_a_change_within_a_second_that_keeps_the_size_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "clicks.py"
    for name in ("clicks", "visits"):
        file.write_text(
            f'from headrace import EventStream, Int64\ns = EventStream("{name}", key="page", time="at", id="id", '
            'schema={"page": Int64})\n'
        )
        os.utime(file, (1_600_000_000, 1_600_000_000))

        assert [stream.name for stream in load_project(tmp_path).streams] == [name]


def test_a_file_that_fails_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")

    with pytest.raises(ConfigError, match=r"broken\.py cannot be imported"):
        load_project(tmp_path)


def test_two_definitions_of_one_name_are_refused(tmp_path: Path) -> None:
    line = "from headrace import *\ns = EventStream('s', key='k', time='t', id='i', schema={'k': Int64})\n"
    (tmp_path / "a.py").write_text(line)
    (tmp_path / "b.py").write_text(line)

    with pytest.raises(DefinitionError, match="two definitions of EventStream 's'"):
        load_project(tmp_path)
