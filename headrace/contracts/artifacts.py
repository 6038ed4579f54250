"""Datasets, training runs and models, as they are written down.

Everything is content-addressed: a name carries a digest, and a digest is checked before bytes are used.
"""

from dataclasses import dataclass, field

__all__ = ["DatasetManifest", "EvaluationReport", "GateResult", "ModelManifest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetManifest:
    """One immutable training set; stands beside ``data.parquet`` as ``manifest.json``."""

    dataset_id: str
    """``<model>-<12 digits>``, of the rows and of what was asked for; see :mod:`headrace.dataset_format`."""
    model: str
    content_hash: str
    """SHA-256 over the canonical bytes of the rows (not of the Parquet file)."""
    mode: str
    """``as_served`` or ``corrected``."""
    start_us: int
    end_us: int
    """Spine: events with ``start_us <= t < end_us``."""
    as_of_us: int
    """Knowledge time: nothing that arrived later was used."""
    rows: int
    positives: int
    features: tuple[str, ...]
    definitions: dict[str, str]
    """View or request-feature name -> fingerprint."""
    sources: dict[str, int]
    """``<topic>:<partition>`` -> last offset read."""
    columns: tuple[str, ...] = ()
    """``transaction id, event time, features..., label`` as they stand in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """One model version; stands beside its weights as ``manifest.json``.

    Serving refuses a version whose digests or feature list do not match.
    """

    model: str
    version: str
    """``v<n>``: MLflow's registry version."""
    weights_file: str
    weights_sha256: str
    architecture: dict[str, object]
    """``{"kind": "mlp", "inputs": 15, "hidden": [64, 32]}``."""
    features: tuple[str, ...]
    """Input names in order."""
    definitions: dict[str, str]
    dataset_id: str
    dataset_hash: str
    trained_from_us: int
    trained_until_us: int
    threshold: float
    """Score from which an event counts as flagged: the share of flags equals the share of frauds in training."""
    metrics: dict[str, float]
    run_id: str = ""
    """MLflow run."""
    seed: int = 0
    created_us: int = 0
    """Clock of the policy (event time in a replay)."""
    cost: dict[str, float] = field(default_factory=dict)
    """``device_seconds`` and ``price``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What one gate said."""

    gate: str
    passed: bool
    value: float | None
    limit: float | None
    detail: str
    """One sentence with the numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """A candidate beside the champion on the same test rows."""

    model: str
    candidate: dict[str, float]
    """Metric name -> value."""
    champion: dict[str, float] | None
    champion_version: str | None
    test_from_us: int
    test_until_us: int
    rows: int
    positives: int
    difference: dict[str, tuple[float, float, float]]
    """Metric -> (estimate, lower, upper) of candidate minus champion, paired bootstrap at the gate's confidence."""
    slices: dict[str, dict[str, float]]
    """Slice name -> estimate, lower, upper, positives of the difference."""
    calibration_error: float
    latency_p99_ms: float
    gates: tuple[GateResult, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate passed."""
        return all(gate.passed for gate in self.gates)
