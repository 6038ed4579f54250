"""What workflows and activities say to each other, and the names of the activities.

Frozen dataclasses of plain values, one in and one out; new fields come with defaults and are never renamed, because
running workflows and stored histories carry them. Large things go by reference, as paths. Instants are event time.
"""

from dataclasses import dataclass, field
from typing import Any

from headrace.contracts.artifacts import EvaluationReport
from headrace.contracts.rollout import RolloutChange, RolloutRecord
from headrace.spec.policies import RetrainPolicy, RolloutPolicy

DESCRIBE_MODEL = "describe_model"
SNAPSHOT_DATASET = "snapshot_dataset"
TRAIN_MODEL = "train_model"
EVALUATE_CANDIDATE = "evaluate_candidate"
REGISTER_MODEL = "register_model"
PUBLISH_REFERENCE = "publish_reference"
REHEARSE_ROLLBACK = "rehearse_rollback"
READ_ROLLOUT = "read_rollout"
WRITE_ROLLOUT = "write_rollout"
ANNOUNCE_ROLLOUT = "announce_rollout"
ALIGN_REGISTRY = "align_registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Which model of which project."""

    project: str
    """Path of the project folder, as the worker sees it."""
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBrief:
    """What a controller must know about its model."""

    retrain: RetrainPolicy
    rollout: RolloutPolicy
    label_delay_us: int
    record: RolloutRecord | None
    links: dict[str, str] = field(default_factory=dict)
    """Title -> address, for the pages people look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRequest:
    project: str
    model: str
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Training and test set of one run, by reference."""

    train: str = ""
    """Folder."""
    test: str = ""
    train_rows: int = 0
    train_positives: int = 0
    test_rows: int = 0
    test_positives: int = 0
    test_from_us: int = 0
    shortage: str = ""
    """Why there is nothing to train on; empty when there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    project: str
    model: str
    run: str
    """Name of the run's folder: the same for every attempt, so that a retry resumes."""
    dataset: str
    """Folder of the training set."""
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained candidate, by reference."""

    artifact: str
    """Folder with weights and manifest."""
    weights_sha256: str
    device_seconds: float = 0.0
    price: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRequest:
    project: str
    model: str
    artifact: str
    test: str
    """Folder of the test set."""
    champion: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    project: str
    model: str
    run: str
    artifact: str
    test: str
    report: EvaluationReport
    reason: str
    accepted: bool = True
    """A refused candidate is recorded as a run and gets no version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    version: str
    links: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRequest:
    """Which data a version's monitoring reference is made of."""

    project: str
    model: str
    version: str
    test: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalRequest:
    project: str
    model: str
    version: str
    """Candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Whether the way back is open."""

    refusal: str = ""
    """Why not; empty when it is."""
    epoch: int = 0
    """Epoch of the record it was rehearsed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutWrite:
    """One change of the rollout record."""

    model: str
    kind: str
    """As in contracts.rollout.RolloutChange."""
    expected_epoch: int
    """Epoch of the record it was decided on, 0 for none: whoever wrote meanwhile wins."""
    reason: str
    by: str
    at_us: int
    version: str = ""
    share: float = 0.0
    rollout_id: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOutcome:
    record: RolloutRecord | None
    """In force now."""
    change: RolloutChange | None = None
    """As written; None when somebody else had written before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryAlignment:
    """Aliases of the registry follow the record."""

    model: str
    record: RolloutRecord
