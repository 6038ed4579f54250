"""A candidate beside the champion on the same newer rows: metrics, paired differences, slices, latency.

Differences are bootstrapped in pairs (both models see the same resampled rows) and stratified by label, so that every
resample has the rows' own share of positives (Efron and Tibshirani 1993, percentile intervals).
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.artifact_format import LoadedModel
from headrace.contracts.artifacts import EvaluationReport
from headrace.dataset_format import DatasetRows
from headrace.spec.policies import BeatsChampion, Gate, SlicesHold
from trainers.gates import slice_name
from trainers.metrics import METRICS, RankedScores, expected_calibration_error

__all__ = ["evaluate", "latency_p99_ms", "paired_differences"]

RESAMPLES = 1000
"""The 5 % quantile of a thousand is known to about a twentieth of the interval's width."""
SLICE_RESAMPLES = 400
ALWAYS_COMPARED = ("average_precision", "log_loss")
DEFAULT_CONFIDENCE = 0.95
LATENCY_RUNS = 400

Array = NDArray[Any]


def evaluate(
    candidate: LoadedModel,
    champion: LoadedModel | None,
    test: DatasetRows,
    gates: Sequence[Gate] = (),
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> EvaluationReport:
    """Measure a candidate; the gates only say which differences and slices are needed, they are judged elsewhere.

    A champion whose inputs the test rows no longer hold is named in the report without numbers.

    Args:
        candidate: a loaded artifact.
        champion: the version that serves now, if any.
        test: rows newer than both models' training rows.
        gates: decide confidence levels and slices.
        seed: of the bootstrap.
        resamples: of the whole test set; slices take fewer.
    """
    labels = test.labels
    ours = candidate.score(_inputs(candidate, test))
    comparable = champion is not None and set(champion.features) <= set(test.manifest.features)
    theirs = champion.score(_inputs(champion, test)) if champion is not None and comparable else None
    difference: dict[str, tuple[float, float, float]] = {}
    slices: dict[str, dict[str, float]] = {}
    if theirs is not None:
        difference = paired_differences(_confidences(gates), labels, ours, theirs, resamples=resamples, seed=seed)
        for gate in gates:
            if isinstance(gate, SlicesHold):
                slices.update(_slices(gate, test, ours, theirs, resamples=min(resamples, SLICE_RESAMPLES), seed=seed))
    return EvaluationReport(
        model=candidate.manifest.model,
        candidate=_metrics(labels, ours),
        champion=None if theirs is None else _metrics(labels, theirs),
        champion_version=None if champion is None else champion.version,
        test_from_us=test.manifest.start_us,
        test_until_us=test.manifest.end_us,
        rows=len(labels),
        positives=int((labels == 1).sum()),
        difference=difference,
        slices=slices,
        calibration_error=expected_calibration_error(labels, ours),
        latency_p99_ms=latency_p99_ms(candidate, test.features_NF),
    )


def paired_differences(
    confidences: Mapping[str, float],
    labels: Array,
    ours: Array,
    theirs: Array,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float, float]]:
    """Metrics of ours minus metrics of theirs: estimate, and two bounds each of which holds with its confidence.

    Args:
        confidences: metric -> one-sided confidence.
        labels: (N,) 0 or 1.
        ours: (N,) scores.
        theirs: (N,) scores of the same rows.
        resamples: how often to draw; the same draws serve all metrics.
        seed: of the draws.

    Returns:
        Metric -> (estimate, lower, upper); NaN when the metric has no value on these rows.
    """
    measures = {name: _difference(name, labels, ours, theirs) for name in confidences}
    estimates = {name: measure(None) for name, measure in measures.items()}
    found = dict.fromkeys(confidences, (math.nan,) * 3)
    defined = [name for name, estimate in estimates.items() if math.isfinite(estimate)]
    if not defined:
        return found
    generator = np.random.default_rng(seed)
    strata = [np.flatnonzero(labels == value) for value in (0, 1)]
    drawn = {name: np.empty(resamples) for name in defined}
    weights = np.zeros(len(labels))
    for index in range(resamples):
        for rows in strata:
            weights[rows] = np.bincount(generator.integers(0, len(rows), len(rows)), minlength=len(rows))
        for name in defined:
            drawn[name][index] = measures[name](weights)
    for name in defined:
        lower, upper = np.quantile(drawn[name], [1 - confidences[name], confidences[name]])
        found[name] = (estimates[name], float(lower), float(upper))
    return found


def latency_p99_ms(model: LoadedModel, inputs_NF: Array, runs: int = LATENCY_RUNS) -> float:
    """99th percentile of the time one row takes in the loaded model, after a warm-up.

    A shared machine adds its own pauses, so the better of two rounds after a warm-up counts.
    """
    rows = [inputs_NF[index % len(inputs_NF)][None, :] for index in range(runs)] if len(inputs_NF) else []
    rounds = []
    for _ in range(3):
        taken = []
        for row in rows:
            started = time.perf_counter_ns()
            model.score(row)
            taken.append(time.perf_counter_ns() - started)
        rounds.append(float(np.quantile(taken, 0.99)) / 1e6 if taken else float("nan"))
    return min(rounds[1:])


def _confidences(gates: Sequence[Gate]) -> dict[str, float]:
    """Metric -> confidence of the strictest gate that asks for it."""
    asked: dict[str, float] = {}
    for gate in gates:
        if isinstance(gate, BeatsChampion):
            asked[gate.metric] = max(asked.get(gate.metric, 0.0), gate.confidence)
    return {**dict.fromkeys(ALWAYS_COMPARED, DEFAULT_CONFIDENCE), **asked}


def _difference(metric: str, labels: Array, ours: Array, theirs: Array) -> Callable[[Array | None], float]:
    """Function from weights to a difference; what does not depend on weights is done once."""
    if metric in ("average_precision", "roc_auc"):
        first, second = (getattr(RankedScores(labels, scores), metric) for scores in (ours, theirs))
    else:
        first, second = (partial(METRICS[metric], labels, scores) for scores in (ours, theirs))
    return lambda weights: float(first(weights) - second(weights))


def _inputs(model: LoadedModel, test: DatasetRows) -> Array:
    if model.features == test.manifest.features:
        return test.features_NF
    return np.column_stack([test.column(name) for name in model.features])


def _metrics(labels: Array, scores: Array) -> dict[str, float]:
    return {name: metric(labels, scores, None) for name, metric in METRICS.items()}


def _slices(
    gate: SlicesHold, test: DatasetRows, ours: Array, theirs: Array, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Paired differences in quartiles of each column; equal values are never parted, so there may be fewer."""
    found: dict[str, dict[str, float]] = {}
    for column in gate.columns:
        values = test.column(column)
        known = values[np.isfinite(values)]
        edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75])) if len(known) else np.array([])
        numbers = np.where(np.isfinite(values), np.searchsorted(edges, values, side="left"), -1)
        for number in np.unique(numbers):
            inside = numbers == number
            labels = test.labels[inside]
            estimate, lower, upper = paired_differences(
                {gate.metric: gate.confidence}, labels, ours[inside], theirs[inside], resamples=resamples, seed=seed
            )[gate.metric]
            name = slice_name(gate, column, *_bounds(values[inside]))
            found[name] = {
                "estimate": estimate,
                "lower": lower,
                "upper": upper,
                "rows": float(inside.sum()),
                "positives": float((labels == 1).sum()),
            }
    return found


def _bounds(values: Array) -> tuple[float, float] | tuple[None, None]:
    return (float(values.min()), float(values.max())) if np.isfinite(values).all() else (None, None)
