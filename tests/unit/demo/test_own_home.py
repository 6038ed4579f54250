"""A demo empties its home first, and no other folder."""

from pathlib import Path

import pytest

from headrace.demo.story import LOCK, _own
from headrace.errors import RejectedError


def test_only_a_demos_folder_is_emptied(tmp_path: Path) -> None:
    mine = tmp_path / "thesis.tex"
    mine.write_text("years of work", encoding="utf-8")

    with pytest.raises(RejectedError, match="no demo's"), _own(tmp_path):
        pass

    assert mine.read_text(encoding="utf-8") == "years of work"


def test_what_an_earlier_demo_left_is_gone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with _own(home):
        (home / "data").mkdir()
        (home / "data" / "x").write_text("old", encoding="utf-8")
        (home / "stray").write_text("old", encoding="utf-8")

    with _own(home):
        assert [path.name for path in home.iterdir() if path.is_file()] == [LOCK]
        assert not (home / "data").exists()


def test_a_second_demo_in_one_home_is_refused(tmp_path: Path) -> None:
    with _own(tmp_path / "home"), pytest.raises(RejectedError, match="another demo runs"), _own(tmp_path / "home"):
        pass
