"""Realised quality on matured labels, whole and per segment."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.profile import ColumnProfile
from monitors.statistics import average_precision, brier, calibration_error, clipped_log_loss

__all__ = ["MIN_POSITIVES", "measure", "null_average_precision", "quartiles", "segments_of"]

Array = NDArray[Any]

MIN_POSITIVES = 20
"""Positive labels below which a ranking metric says nothing; matured rows are collected until there are as many."""
MIN_SEGMENT_POSITIVES = 8
LOSS_CEILING = 10.0
DRAWS = 400
MAX_DRAWN_NEGATIVES = 5_000
"""More negatives hardly change the noise of average precision, which comes from the positives."""


def measure(labels: Array, scores: Array, segments: Array, names: Sequence[str]) -> dict[str, float]:
    """Metrics of matured rows by name; per segment only where it has enough positives.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) finite.
        segments: (N, K) quartiles.
        names: of the K sliced inputs.
    """
    positives = int((labels == 1).sum())
    found = {
        "rows": float(len(labels)),
        "positives": float(positives),
        "average_precision": average_precision(labels, scores),
        "log_loss": float(clipped_log_loss(labels, scores, ceiling=LOSS_CEILING).mean()),
        "brier": brier(labels, scores),
        "calibration_error": calibration_error(labels, scores),
    }
    for k, name in enumerate(names):
        for quartile in range(4):
            inside = segments[:, k] == quartile
            if int((labels[inside] == 1).sum()) >= MIN_SEGMENT_POSITIVES:
                metric = average_precision(labels[inside], scores[inside])
                found[f"average_precision[{name} q{quartile + 1}]"] = metric
    return {name: value for name, value in found.items() if np.isfinite(value)}


def null_average_precision(labels: Array, scores: Array, *, rows: int, positives: int, seed: int) -> Array | None:
    """Average precision of the reference on windows with as many positives and negatives as a real one, ascending.

    Average precision depends on the share of positives, so a drop is measured against the reference at the same
    share, and judged against what chance alone does to so few positives (bootstrap within each class). The
    reference's own error is added to the spread, as for the difference of two independent samples.

    Returns:
        The draws; None when the reference itself has too few positives.
    """
    is_positive = labels == 1
    good, bad = scores[is_positive], scores[~is_positive]
    if len(good) < MIN_POSITIVES or not len(bad):
        return None
    negatives = max(rows - positives, 1)
    drawn = min(negatives, MAX_DRAWN_NEGATIVES)
    weight = negatives / drawn
    rng = np.random.default_rng(seed)
    draws = np.empty(DRAWS)
    for number in range(DRAWS):
        hits, misses = rng.choice(good, positives), rng.choice(bad, drawn)
        draws[number] = _weighted_average_precision(hits, misses, weight)
    widened = math.sqrt(1 + positives / len(good))
    return np.sort(draws.mean() + widened * (draws - draws.mean()))


def quartiles(profile: ColumnProfile, names: Sequence[str]) -> dict[str, Array]:
    """Quartile cuts of the inputs among ``names`` that the reference knows."""
    cuts = {}
    for name in names:
        if name in profile.names:
            known = profile.sample_SC[:, profile.names.index(name)]
            known = known[~np.isnan(known)]
            if len(known):
                cuts[name] = np.quantile(known, [0.25, 0.5, 0.75])
    return cuts


def segments_of(features: Array, inputs: Sequence[str], names: Sequence[str], cuts: Mapping[str, Array]) -> Array:
    """Quartile of each row in each sliced input, (N, K) int8; -1 for null or an input without cuts."""
    found = np.full((len(features), len(names)), -1, np.int8)
    for k, name in enumerate(names):
        if name in cuts:
            values = features[:, list(inputs).index(name)]
            found[:, k] = np.where(np.isnan(values), -1, np.searchsorted(cuts[name], values, side="left"))
    return found


def _weighted_average_precision(hits: Array, misses: Array, weight: float) -> float:
    """Average precision when each miss stands for ``weight`` rows."""
    hits = np.sort(hits)[::-1]
    above = len(misses) - np.searchsorted(np.sort(misses), hits, side="left")
    # Equal scores share a threshold: the number of hits at or above each one.
    ranks = len(hits) - np.searchsorted(hits[::-1], hits, side="left")
    return float(np.mean(ranks / (ranks + weight * above)))
