"""The training process under watch: killed, stuck, cancelled and orphaned, with the real process each time."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.artifact_format import LoadedModel
from headrace.errors import RejectedError, UnavailableError
from tests.eventually import eventually
from tests.training_cases import TINY, a_job, make_dataset
from trainers.job import RunFolder, TrainingJob
from trainers.main import EXIT_ORPHANED, run_job
from trainers.progress import Progress
from trainers.supervisor import supervise

LONG = dataclasses.replace(TINY, epochs=150)
"""Long enough to be caught in the middle."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return a_job(make_dataset(tmp_path_factory.mktemp("datasets")), trainer=LONG)


def _trainers_of(folder: RunFolder) -> list[int]:
    """Process ids that train in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if str(folder.job_file).encode() in command:
            found.append(int(entry.name))
    return found


def _signal(folder: RunFolder, how: signal.Signals) -> None:
    for pid in _trainers_of(folder):
        os.kill(pid, how)


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, job: TrainingJob) -> None:
    unbroken = RunFolder(tmp_path / "unbroken")
    unbroken.write_job(job)
    run_job(unbroken)
    killed = RunFolder(tmp_path / "killed")

    def kill_in_the_middle(progress: Progress | None) -> None:
        if progress is not None and progress.epoch >= 5:
            _signal(killed, signal.SIGKILL)

    with pytest.raises(UnavailableError, match="ended by SIGKILL"):
        supervise(killed, job, beat=kill_in_the_middle, poll_s=0.01)
    assert not killed.artifact.exists()
    steps: list[int] = []

    resumed = supervise(killed, job, beat=lambda progress: steps.append(progress.step if progress else 0))

    assert min(step for step in steps if step) > 5 * 15  # 15 steps an epoch: it did not start over
    assert resumed.weights_sha256 == LoadedModel.load(unbroken.artifact).manifest.weights_sha256
    assert killed.read_history() == unbroken.read_history()
    assert resumed == supervise(killed, job, beat=lambda _: None)
    assert not _trainers_of(killed)


def test_a_child_that_lives_but_does_not_move_is_stopped(tmp_path: Path, job: TrainingJob) -> None:
    folder = RunFolder(tmp_path / "run")

    def freeze(progress: Progress | None) -> None:
        if progress is not None:
            _signal(folder, signal.SIGSTOP)

    with pytest.raises(UnavailableError, match=r"made no step for 0.5 s \(at step \d+\)"):
        supervise(folder, job, beat=freeze, stall_s=0.5, poll_s=0.01)
    assert not _trainers_of(folder)


def test_a_cancelled_caller_leaves_no_process(tmp_path: Path, job: TrainingJob) -> None:
    folder = RunFolder(tmp_path / "run")

    class CancelledError(Exception):
        pass

    def cancel(progress: Progress | None) -> None:
        if progress is not None:
            raise CancelledError

    with pytest.raises(CancelledError):
        supervise(folder, job, beat=cancel, poll_s=0.01)
    assert not _trainers_of(folder)


def test_a_child_ends_with_its_supervisor(tmp_path: Path, job: TrainingJob) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_job(job)
    command = [sys.executable, "-m", "trainers.main", "--supervised", "--job", str(folder.job_file)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdin is not None
    try:
        eventually(folder.progress_file.exists, timeout_s=60)
        child.stdin.close()

        assert child.wait(timeout=30) == EXIT_ORPHANED
    finally:
        child.kill()
        child.wait()


def test_what_the_child_refuses_is_raised_here(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    job = a_job(make_dataset(tmp_path / "datasets", bias=-99.0))

    with pytest.raises(RejectedError, match=r"0 positives in 900 rows.*\n.*longer time"):
        supervise(folder, job, beat=lambda _: None)
