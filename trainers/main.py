"""The training process: ``python -m trainers.main --job RUN_DIR/job.json``.

Needs torch, numpy, pyarrow and safetensors, and of headrace only specs, contracts, formats and errors; it runs on a
bare GPU image from a checkout. Started again on the same folder it resumes from the newest whole checkpoint; when the
artifact is already there it is done at once.

Exit codes: 0 done, 1 failed for good (see ``failure.json``), 75 failed for now, 76 its supervisor died.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from headrace.artifact_format import LoadedModel, standardise
from headrace.contracts.artifacts import ModelManifest
from headrace.dataset_format import read_rows
from headrace.errors import ConfigError, HeadraceError, RejectedError, UnavailableError
from headrace.manifest_file import to_json, write_manifest
from trainers.artifact import write_artifact
from trainers.checkpoint import CheckpointFolder
from trainers.inputs import fit_scaling
from trainers.job import Failure, RunFolder, TrainingJob
from trainers.loop import TRAINER_VERSION, TrainingRows, train
from trainers.progress import append_progress, begin_progress
from trainers.splits import time_split

__all__ = ["EXIT_FAILED", "EXIT_FOR_NOW", "EXIT_ORPHANED", "main", "run_job"]

EXIT_FAILED, EXIT_FOR_NOW, EXIT_ORPHANED = 1, 75, 76


def main(argv: list[str] | None = None) -> int:
    """Run the job of a folder; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainers.main", description="Train one model.")
    parser.add_argument("--job", type=Path, required=True, help="job.json; its folder is the run's folder")
    parser.add_argument("--supervised", action="store_true", help="end when standard input closes")
    args = parser.parse_args(argv)
    folder = RunFolder(args.job.absolute().parent)
    if args.supervised:
        threading.Thread(target=_end_with_supervisor, name="supervisor-watch", daemon=True).start()
    try:
        manifest = run_job(folder)
    except HeadraceError as error:
        print(f"trainer: {error}", file=sys.stderr)
        write_manifest(
            folder.failure_file, Failure(kind=type(error).__name__, message=str(error.args[0]), hint=error.hint)
        )
        return EXIT_FOR_NOW if error.retryable else EXIT_FAILED
    print(f"trained {manifest.model} {manifest.weights_sha256[:12]} {manifest.metrics}", file=sys.stderr)
    return 0


def run_job(folder: RunFolder) -> ModelManifest:
    """Train what the folder's job asks for, unless that is done.

    Raises:
        IntegrityError: job, data set, checkpoint or finished artifact are not what they claim to be.
        RejectedError: the data set cannot be trained on.
        ConfigError: the device does not exist.
        UnavailableError: another process trains in this folder, or the device is out of memory.
        HeadraceError: the loss is not finite.
    """
    with _only_one(folder):
        if folder.artifact.exists():
            return LoadedModel.load(folder.artifact).manifest
        try:
            return _train(folder, folder.read_job())
        except torch.cuda.OutOfMemoryError as error:
            raise UnavailableError(
                f"the device is out of memory: {error}", hint="wait for other jobs, or lower TorchClassifier.batch_rows"
            ) from error


def _train(folder: RunFolder, job: TrainingJob) -> ModelManifest:
    torch.set_num_threads(job.threads)
    device = _device(job.device)
    rows = read_rows(Path(job.dataset))
    manifest = rows.manifest
    first = time_split(rows.times_us, job.trainer.validation)
    positives = int((rows.labels[:first] == 1).sum())
    if not 0 < positives < first:
        raise RejectedError(
            f"training rows of {manifest.dataset_id} hold {positives} positives in {first} rows; it takes both classes",
            hint="build the training set over a longer time",
        )
    scaling = fit_scaling(rows.features_NF[:first], manifest.features)
    standardised_NE = standardise(rows.features_NF, scaling)
    begin_progress(folder.progress_file)
    trained = train(
        job.trainer,
        TrainingRows(
            train_TE=standardised_NE[:first],
            train_labels_T=rows.labels[:first],
            validation_VE=standardised_NE[first:],
            validation_labels_V=rows.labels[first:],
        ),
        device=device,
        identity=_identity(job, manifest.content_hash, device),
        described={
            "trainer": to_json(job.trainer).decode(),
            "data set": f"{manifest.dataset_id}, {manifest.rows} rows, {manifest.start_us} us to {manifest.end_us} us",
            "trainer version": str(TRAINER_VERSION),
        },
        checkpoints=CheckpointFolder(folder.checkpoints),
        report=lambda progress: append_progress(folder.progress_file, progress),
    )
    folder.write_history(trained.history)
    return write_artifact(
        folder.artifact,
        trained,
        job=job,
        rows=rows,
        first_validation=first,
        scaling=scaling,
    )


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device is {name!r}", hint="use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', and torch sees no CUDA device", hint="use --device cpu or auto")
    return torch.device("cpu" if name == "cpu" or not torch.cuda.is_available() else "cuda")


def _identity(job: TrainingJob, dataset_hash: str, device: torch.device) -> str:
    parts = (to_json(job.trainer), dataset_hash.encode(), device.type.encode(), str(TRAINER_VERSION).encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


@contextlib.contextmanager
def _only_one(folder: RunFolder) -> Iterator[None]:
    """Hold the folder's lock; the kernel gives it back however this process ends."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.lock_file.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(
                f"another process trains in {folder.path}", hint="wait for it; it is stopped with its supervisor"
            ) from error
        yield


def _end_with_supervisor() -> None:
    """Leave no orphan on the device: the supervisor holds the other end of standard input as long as it lives."""
    # Not sys.stdin: a thread that waits inside its buffer makes the interpreter abort when it ends.
    while os.read(0, 1):
        pass
    os._exit(EXIT_ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
