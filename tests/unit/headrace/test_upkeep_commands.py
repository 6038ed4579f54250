"""``headrace erase`` and ``headrace offline`` refuse what is asked wrongly, with the next step."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.cli.main import main
from headrace.config import Settings
from headrace.erasure import _counted
from headrace.errors import UnavailableError
from streams.worker_lock import take_place


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADRACE_REDIS_URL", "redis://127.0.0.1:1/0")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "clicks.py").write_text(
        "from headrace import EventStream, FeatureView, Int64, String, count\n"
        'clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "page": String})\n'
        'use = FeatureView("use", entity="page", source=clicks, features=[count().over("1h")])\n'
    )
    return folder


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        (["--entity", "user"], "no subject was given", "--key K or --from-file"),
        (["--entity", "colour", "--key", "1"], "'colour' is no entity of project 'shop'", "['page', 'user']"),
        (["--entity", "click", "--key", "1"], "'click' is no entity", "['page', 'user']"),
        (["--entity", "user", "--key", "ann"], "a key of 'user' is no whole number", "check the keys"),
        (["--entity", "user", "--from-file", "absent.txt"], "absent.txt cannot be read", "one key a line"),
        (["--entity", "page", "--key", "/home"], "Redis at 127.0.0.1:1 does not serve", "headrace status"),
    ],
)
def test_erase_says_what_is_wrong_and_what_to_do(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str, hint: str
) -> None:
    assert main(["erase", "--project", str(project), *arguments]) == 1

    error = capsys.readouterr().err
    assert says in error
    assert hint in error


def test_without_redis_nothing_was_changed(project: Path, tmp_path: Path) -> None:
    assert main(["erase", "--project", str(project), "--entity", "page", "--key", "/home"]) == 1

    assert not (tmp_path / "home" / "data" / "erased").exists()


def test_offline_refuses_files_of_no_size_and_has_nothing_to_do_in_an_empty_home(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["offline", "compact", "--project", str(project), "--target-mb", "0"]) == 1
    assert "--target-mb is 0" in capsys.readouterr().err
    for action in ("compact", "retain"):
        assert main(["offline", action, "--project", str(project)]) == 0
        assert "nothing to do" in capsys.readouterr().out


def test_erase_beside_a_worker_is_refused_but_what_would_go_is_counted(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = take_place(Settings(home=tmp_path / "home"), "shop")
    place.say(metrics="", views={})
    words = ["erase", "--project", str(project), "--entity", "page", "--key", "/home"]

    assert main(words) == 1
    said = capsys.readouterr().err
    assert "`headrace erase` needs the files of" in said
    assert f"stream workers run (pid {os.getpid()})" in said
    assert "stop `headrace run stream`" in said

    assert main([*words, "--dry-run"]) == 1
    assert "Redis at 127.0.0.1:1 does not serve" in capsys.readouterr().err, "nobody holds it up but the missing store"
    place.give_up()


def test_a_dry_run_begins_again_when_files_are_merged_under_it() -> None:
    runs: list[_Merged] = []

    def begin() -> "_Merged":
        runs.append(_Merged(len(runs)))
        return runs[-1]

    work, removed = _counted(begin)

    assert (work, removed) == (runs[2], {"rows": 2})
    with pytest.raises(UnavailableError, match="files went away 5 times"):
        _counted(lambda: _Merged(0))


@dataclass
class _Merged:
    """A run that finds whole files only after two others."""

    number: int

    def run(self) -> Iterator[tuple[str, int]]:
        if self.number < 2:
            raise FileNotFoundError
        yield "rows", self.number
