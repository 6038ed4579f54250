"""Running a training process under watch: what the training activity and ``headrace train`` do.

    supervisor ──start──► child process group ──append──► progress file
        ▲                                                     │
        └──────────── reads the step counter ◄────────────────┘

The child is stopped, with everything it started, when the step counter stands still, when the caller's ``beat``
raises (a cancelled activity), and, by the pipe it holds, when this process dies. Knows nothing of Temporal.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from headrace import errors
from headrace.artifact_format import LoadedModel
from headrace.contracts.artifacts import ModelManifest
from headrace.errors import HeadraceError, UnavailableError
from headrace.manifest_file import read_manifest
from trainers.job import Failure, RunFolder, TrainingJob
from trainers.progress import Progress, ProgressReader

__all__ = ["supervise"]

START_S = 300.0
"""Longest time to the first step: importing torch and reading a large data set take a minute on a slow disk."""
STALL_S = 120.0
"""Longest time between two lines of progress, STEPS_PER_REPORT steps apart."""
POLL_S = 0.2
STOP_S = 5.0
"""Time between asking the process group to end and killing it."""


def supervise(
    folder: RunFolder,
    job: TrainingJob,
    *,
    beat: Callable[[Progress | None], None],
    start_s: float = START_S,
    stall_s: float = STALL_S,
    poll_s: float = POLL_S,
) -> ModelManifest:
    """Train in a child process and wait for it.

    Called again on the same folder, it goes on from the newest checkpoint, or returns at once when all is done.

    Args:
        folder: the run's folder, one per run.
        job: what to train.
        beat: called at every poll with the newest progress (None before the first); what it raises stops the child.
        start_s: seconds to the first step after which the child is stopped.
        stall_s: the same between steps.
        poll_s: seconds between two polls.

    Raises:
        UnavailableError: the child was killed, stood still, or met a failure that may pass; try again.
        RejectedError: the folder is of another run.
        HeadraceError: the child gave up for good; of the class it raised.
    """
    folder.write_job(job)
    if folder.artifact.exists():
        return LoadedModel.load(folder.artifact).manifest
    folder.failure_file.unlink(missing_ok=True)
    reader = ProgressReader(folder.progress_file)
    reader.read()  # what an earlier attempt wrote is not progress of this one
    newest: Progress | None = None
    with _child(folder, job) as child:
        moved = time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=poll_s)
            for progress in reader.read():
                newest, moved = progress, time.monotonic()
            beat(newest)
            if child.returncode is not None:
                break
            limit_s = start_s if newest is None else stall_s
            if time.monotonic() - moved > limit_s:
                raise UnavailableError(
                    f"training in {folder.path} made no step for {limit_s:g} s"
                    f" (at step {newest.step if newest else 0}) and was stopped",
                    hint=f"it resumes from its newest checkpoint; its log is {folder.log_file}",
                )
    if child.returncode:
        raise _failure(folder, child.returncode)
    return LoadedModel.load(folder.artifact).manifest


@contextlib.contextmanager
def _child(folder: RunFolder, job: TrainingJob) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "trainers.main", "--supervised", "--job", str(folder.job_file)]
    threads = str(job.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    with folder.log_file.open("ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # a process group of its own, so that all it started can be stopped
        )
    try:
        yield child
    finally:
        _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=STOP_S)
            break
    if child.stdin is not None:
        child.stdin.close()


def _failure(folder: RunFolder, code: int) -> HeadraceError:
    if folder.failure_file.exists():
        failure = read_manifest(folder.failure_file, Failure)
        kind = getattr(errors, failure.kind, HeadraceError)
        error: HeadraceError = kind(failure.message, hint=failure.hint)
        return error
    hint = f"the whole log is {folder.log_file}"
    if code < 0:
        return UnavailableError(f"the training process was ended by {signal.Signals(-code).name}", hint=hint)
    return HeadraceError(f"the training process failed with code {code}: {_last_line(folder.log_file)}", hint=hint)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
