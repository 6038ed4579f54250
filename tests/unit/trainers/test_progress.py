"""Progress is read line by line while it is written, and a torn line harms nobody."""

from pathlib import Path

import numpy as np
import pytest

from headrace.artifact_format import standardise
from headrace.errors import RejectedError
from trainers.inputs import fit_scaling
from trainers.progress import Progress, ProgressReader, append_progress, begin_progress
from trainers.splits import time_split


def _at(step: int) -> Progress:
    return Progress(step=step, steps=100, epoch=0, epochs=2, loss=0.5)


def test_each_line_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    reader = ProgressReader(path)
    append_progress(path, _at(1))
    append_progress(path, _at(2))
    first = reader.read()
    append_progress(path, _at(3))

    assert [first, reader.read(), reader.read()] == [[_at(1), _at(2)], [_at(3)], []]


def test_before_the_first_line_there_is_nothing(tmp_path: Path) -> None:
    assert ProgressReader(tmp_path / "progress.jsonl").read() == []


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    append_progress(path, _at(1))
    whole = path.read_text()
    path.write_text(whole[:10])
    reader = ProgressReader(path)
    half = reader.read()
    path.write_text(whole)

    assert (half, reader.read()) == ([], [_at(1)])


def test_a_line_torn_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    append_progress(path, _at(1))
    path.write_text(path.read_text() + '{"step": 2, "st')
    begin_progress(path)
    append_progress(path, _at(2))

    assert ProgressReader(path).read() == [_at(1), _at(2)]


@pytest.mark.parametrize("times", [[1], [5, 5, 5, 5], []])
def test_rows_that_cannot_be_split_are_refused(times: list[int]) -> None:
    with pytest.raises(RejectedError, match="cannot be split by time"):
        time_split(np.array(times), 0.2)


def test_validation_is_newer_than_training() -> None:
    times = np.sort(np.random.default_rng(0).integers(0, 50, 400))

    first = time_split(times, 0.15)

    assert times[first - 1] < times[first]
    assert 0.1 < 1 - first / 400 < 0.25


def test_an_infinite_input_is_named() -> None:
    with pytest.raises(RejectedError, match="input 'b' holds infinite"):
        fit_scaling(np.array([[1.0, np.inf], [2.0, 3.0]]), ("a", "b"))


def test_constant_and_empty_inputs_are_harmless() -> None:
    rows = np.array([[7.0, np.nan], [7.0, np.nan]])
    scaling = fit_scaling(rows, ("a", "b"))

    assert scaling.scale_E.tolist() == [1.0] * 4
    assert scaling.mean_E[[1, 3]].tolist() == [0.0, 0.0]
    # What never varied says nothing about values it never had.
    assert standardise(np.array([[70.0, 3.0]]), scaling).tolist() == [[0.0] * 4]
