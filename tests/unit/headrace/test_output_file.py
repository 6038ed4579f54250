"""Commands that write look at the place first: nothing is lost, and no work is done for a file that cannot be."""

from pathlib import Path

import pytest

from headrace.cli.main import main
from headrace.cli.output_file import check_output


def test_generate_writes_no_file_over_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--out", str(tmp_path), "--days", "2"]) == 1

    assert f"--out {tmp_path} is a folder" in capsys.readouterr().err


def test_the_demo_writes_no_folder_over_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").write_text("mine")

    assert main(["demo", "--home", str(tmp_path / "home"), "--out", str(tmp_path / "kept")]) == 1

    assert "is a file" in capsys.readouterr().err
    assert not (tmp_path / "home").exists(), "nothing was started"
    assert (tmp_path / "kept").read_text() == "mine"


def test_a_new_name_an_old_output_and_a_folder_to_be_are_good(tmp_path: Path) -> None:
    (tmp_path / "events").touch()
    (tmp_path / "old").touch()

    for out in (tmp_path / "new", tmp_path / "old", tmp_path / "a" / "b" / "new", Path("new")):
        check_output(out, {"--events": tmp_path / "events", "--labels": None})
