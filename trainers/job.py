"""A training job and the folder it runs in: what the supervising activity and its child process agree on.

<run_dir>/job.json          TrainingJob, written before the child starts
<run_dir>/progress.jsonl    Progress, one line at a time, appended by the child
<run_dir>/checkpoints/      where a killed child goes on
<run_dir>/failure.json      Failure, when the child gave up
<run_dir>/trainer.log       what the child printed
<run_dir>/history.json      TrainingHistory, when all epochs are done
<run_dir>/artifact/         the trained model; its presence means done
<run_dir>/lock              held by the one child at work
"""

from dataclasses import dataclass
from pathlib import Path

from headrace.errors import RejectedError
from headrace.manifest_file import read_manifest, write_manifest
from headrace.spec.policies import TorchClassifier
from trainers.checkpoint import EpochRecord

__all__ = ["Failure", "RunFolder", "TrainingHistory", "TrainingJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """What to train, on which rows, where."""

    model: str
    dataset: str
    """Folder of the training set."""
    trainer: TorchClassifier
    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""
    threads: int = 1
    """CPU threads; part of what makes a result repeatable bit for bit."""
    price_per_device_hour: float = 0.0
    created_us: int = 0
    """Policy clock; becomes the manifest's ``created_us``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a child gave up."""

    kind: str
    """Class of headrace.errors."""
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingHistory:
    """How a run went."""

    epochs: tuple[EpochRecord, ...]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def job_file(self) -> Path:
        return self.path / "job.json"

    @property
    def progress_file(self) -> Path:
        return self.path / "progress.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def failure_file(self) -> Path:
        return self.path / "failure.json"

    @property
    def log_file(self) -> Path:
        return self.path / "trainer.log"

    @property
    def history_file(self) -> Path:
        return self.path / "history.json"

    @property
    def artifact(self) -> Path:
        return self.path / "artifact"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    def write_job(self, job: TrainingJob) -> None:
        """Write the job; a repeated attempt writes the same one.

        Raises:
            RejectedError: the folder is of a run that trains something else.
        """
        if self.job_file.exists():
            held = self.read_job()
            if (held.model, held.dataset, held.trainer) != (job.model, job.dataset, job.trainer):
                raise RejectedError(
                    f"run folder {self.path} trains {held.model!r} on {held.dataset},"
                    f" not {job.model!r} on {job.dataset} with this configuration",
                    hint="give every run a folder of its own",
                )
        self.path.mkdir(parents=True, exist_ok=True)
        write_manifest(self.job_file, job)

    def read_job(self) -> TrainingJob:
        """Read the job.

        Raises:
            IntegrityError: there is none, or it is torn.
        """
        return read_manifest(self.job_file, TrainingJob)

    def write_history(self, epochs: tuple[EpochRecord, ...]) -> None:
        """Keep the epochs of a finished run."""
        write_manifest(self.history_file, TrainingHistory(epochs=epochs))

    def read_history(self) -> tuple[EpochRecord, ...]:
        """Epochs of a finished run; empty before."""
        return read_manifest(self.history_file, TrainingHistory).epochs if self.history_file.exists() else ()
