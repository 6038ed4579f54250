"""Policies of a model: when to retrain, what a candidate must prove, how it reaches traffic.

Every duration is read on the replay or wall clock alike (see :mod:`headrace.clock`), never on Temporal's timers.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from headrace.errors import DefinitionError
from headrace.spec.durations import parse_duration

__all__ = [
    "AtLeast",
    "BeatsChampion",
    "Calibration",
    "Gate",
    "Latency",
    "MonitorPolicy",
    "RetrainPolicy",
    "RolloutPolicy",
    "SlicesHold",
    "TorchClassifier",
    "Tripwires",
]

Metric = Literal["average_precision", "roc_auc", "log_loss", "brier"]
_METRICS = ("average_precision", "roc_auc", "log_loss", "brier")
_BUDGET = re.compile(r"(\d+) per (\d+) days?")


def _share(value: object, *, field: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1:
        raise DefinitionError(f"{field} is {value!r}", hint="give a number between 0 and 1")


def _positive(value: object, *, field: str) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise DefinitionError(f"{field} is {value!r}", hint="give a number above 0")


def _metric(value: object, *, field: str) -> None:
    if value not in _METRICS:
        raise DefinitionError(f"{field} is {value!r}", hint=f"use one of {_METRICS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchClassifier:
    """A feed-forward binary classifier on standardised inputs."""

    hidden: tuple[int, ...] = (64, 32)
    """Width of each hidden layer."""
    epochs: int = 12
    batch_rows: int = 256
    learning_rate: float = 4e-3
    """At the first step; falls to 0 along a half cosine."""
    weight_decay: float = 1e-4
    positive_weight: float = 4.0
    """Weight of a positive row in the loss; undone in the score by calibration."""
    validation: float = 0.15
    """Share of the newest training rows held out to choose the epoch and to calibrate."""
    seed: int = 0
    checkpoint_every: int = 1
    """Epochs between two checkpoints."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name in ("epochs", "batch_rows", "learning_rate", "positive_weight", "checkpoint_every"):
            _positive(getattr(self, name), field=f"TorchClassifier.{name}")
        for width in self.hidden:
            _positive(width, field="TorchClassifier.hidden")
        _share(self.validation, field="TorchClassifier.validation")


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Absolute gate: the candidate's metric on the test window reaches ``value`` (for losses: at most)."""

    kind: ClassVar[str] = "at_least"
    metric: Metric
    value: float

    def __post_init__(self) -> None:
        _metric(self.metric, field="AtLeast.metric")


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatsChampion:
    """Relative gate: better than the champion by ``margin`` with one-sided confidence, paired on the same rows."""

    kind: ClassVar[str] = "beats_champion"
    metric: Metric = "average_precision"
    margin: float = 0.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _metric(self.metric, field="BeatsChampion.metric")
        _share(self.confidence, field="BeatsChampion.confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicesHold:
    """Slice gate: in no slice is the candidate worse than the champion by more than ``margin`` with confidence.

    Slices are quartiles of a numeric input; slices below ``min_positives`` are reported, not judged.
    """

    kind: ClassVar[str] = "slices_hold"
    columns: tuple[str, ...]
    """Full feature names or event fields."""
    metric: Metric = "average_precision"
    margin: float = 0.05
    confidence: float = 0.95
    min_positives: int = 15

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        _metric(self.metric, field="SlicesHold.metric")
        _share(self.confidence, field="SlicesHold.confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calibration gate: expected calibration error over ten equal-count bins is at most ``max_error``."""

    kind: ClassVar[str] = "calibration"
    max_error: float = 0.02

    def __post_init__(self) -> None:
        _share(self.max_error, field="Calibration.max_error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Latency gate: one-row prediction of the loaded artifact, 99th percentile."""

    kind: ClassVar[str] = "latency"
    p99_ms: float = 10.0

    def __post_init__(self) -> None:
        _positive(self.p99_ms, field="Latency.p99_ms")


Gate = AtLeast | BeatsChampion | SlicesHold | Calibration | Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPolicy:
    """When to retrain and on what."""

    history: str = "28d"
    """Length of the training window; it ends where the test window begins."""
    test: str = "7d"
    """Newest matured labels, kept for the gates."""
    min_rows: int = 2_000
    min_positives: int = 30
    cooldown: str = "3d"
    """Rest after a finished run."""
    cooldown_growth: float = 2.0
    """Factor on the rest after each candidate the gates refuse."""
    cooldown_max: str = "14d"
    max_age: str = "60d"
    """A champion older than this is retrained without drift."""
    approval: bool = False
    """Whether a person must approve a candidate that passed its gates."""
    history_us: int = field(init=False)
    test_us: int = field(init=False)
    cooldown_us: int = field(init=False)
    cooldown_max_us: int = field(init=False)
    max_age_us: int = field(init=False)

    def __post_init__(self) -> None:
        for name in ("history", "test", "cooldown", "cooldown_max", "max_age"):
            value = parse_duration(getattr(self, name), field=f"RetrainPolicy.{name}")
            object.__setattr__(self, f"{name}_us", value)
        _positive(self.min_rows, field="RetrainPolicy.min_rows")
        if self.cooldown_growth < 1:
            raise DefinitionError(f"RetrainPolicy.cooldown_growth is {self.cooldown_growth!r}", hint="give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorPolicy:
    """What counts as drift, and how often it may be wrong."""

    window: str = "1d"
    """Length of a monitoring window."""
    min_rows: int = 200
    """A window with fewer rows is joined with the next."""
    false_pages: str = "1 per 30 days"
    """Budget of false pages; thresholds are calibrated to it."""
    persistence: tuple[int, int] = (2, 3)
    """Confirmed when k of the last m windows alarm."""
    effect_floor: float = 0.1
    """Smallest PSI that may alarm; significance alone never does."""
    quality_drop: float = 0.1
    """Drop of average precision on matured labels, against the reference, that counts as harm."""
    max_null_rate: float = 0.05
    freshness: str = "6h"
    """Longest silence of the stream before it is a data incident."""
    volume: tuple[float, float] = (0.3, 3.0)
    """Rows of a window relative to the median of the last seven that are still plausible."""
    resolve_after: int = 3
    """Clean windows that resolve an incident."""
    window_us: int = field(init=False)
    freshness_us: int = field(init=False)
    false_pages_per_day: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "window_us", parse_duration(self.window, field="MonitorPolicy.window"))
        object.__setattr__(self, "freshness_us", parse_duration(self.freshness, field="MonitorPolicy.freshness"))
        budget = _BUDGET.fullmatch(self.false_pages)
        if not budget or not int(budget[1]) or not int(budget[2]):
            raise DefinitionError(f"MonitorPolicy.false_pages is {self.false_pages!r}", hint="write '1 per 30 days'")
        object.__setattr__(self, "false_pages_per_day", int(budget[1]) / int(budget[2]))
        k, m = self.persistence
        if not 1 <= k <= m:
            raise DefinitionError(f"MonitorPolicy.persistence is {self.persistence!r}", hint="give (k, m), k <= m")
        _positive(self.effect_floor, field="MonitorPolicy.effect_floor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripwires:
    """Limits that act in serving within seconds, without statistics and without Temporal."""

    max_exceptions: int = 3
    """Exceptions of the challenger in a row."""
    latency_ms: float = 250.0
    """Ceiling of one prediction by the model alone."""
    latency_strikes: int = 20
    """Predictions in a row above the ceiling."""
    constant_after: int = 200
    """Identical scores in a row over different inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """How a candidate reaches traffic, and what sends it back."""

    unit: str = ""
    """Event field that is routed and analysed as one; the stream's key when empty."""
    shadow: str = "1d"
    """Time in which the candidate scores everything and answers nothing."""
    stages: tuple[float, ...] = (0.05, 0.25)
    """Shares of units in each canary stage, growing; after the last comes promotion."""
    bake: str = "1d"
    """Shortest time in each canary stage."""
    probation: str = "8d"
    """Time after promotion in which the previous champion stays warm and rollback armed."""
    deadline: str = "10d"
    """A stage that could not be judged by then is rolled back."""
    alpha: float = 0.05
    """False rollbacks allowed over a whole rollout, whatever the number of looks."""
    min_units: int = 100
    """Units a stage must have seen from the challenger."""
    score_shift: float = 3.0
    """Factor on the share of flagged events, either way, that counts as harm."""
    expected_share: float = 0.01
    """Share of events a healthy model flags; within the factor of this there is no harm, whatever the champion does.

    A champion that drift has silenced, or sent wild, is no measure for its successor."""
    loss_margin: float = 0.002
    """Increase of mean log loss on matured labels that counts as harm."""
    tripwires: Tripwires = field(default_factory=Tripwires)
    shadow_us: int = field(init=False)
    bake_us: int = field(init=False)
    probation_us: int = field(init=False)
    deadline_us: int = field(init=False)

    def __post_init__(self) -> None:
        for name in ("shadow", "bake", "probation", "deadline"):
            value = parse_duration(getattr(self, name), field=f"RolloutPolicy.{name}")
            object.__setattr__(self, f"{name}_us", value)
        object.__setattr__(self, "stages", tuple(self.stages))
        for share in self.stages:
            _share(share, field="RolloutPolicy.stages")
        if not self.stages or list(self.stages) != sorted(set(self.stages)):
            raise DefinitionError(
                f"RolloutPolicy.stages is {self.stages!r}", hint="give growing shares such as (0.05, 0.25)"
            )
        _share(self.alpha, field="RolloutPolicy.alpha")
        _share(self.expected_share, field="RolloutPolicy.expected_share")
