"""From numbers to verdicts: the only place that knows what is too much.

In every verdict a larger value is worse; it alarms from ``threshold`` on, and is clean again below ``CLEAR_AT``
times the threshold (hysteresis).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.monitoring import Cause, Verdict
from headrace.spec.policies import MonitorPolicy
from monitors.thresholds import STATISTICS, NullDistribution, alarm_level

__all__ = [
    "CLEAR_AT",
    "benjamini_hochberg",
    "effect_floors",
    "is_clean",
    "judge_change",
    "judge_distances",
    "judge_quality",
    "level_of",
    "persistent",
]

Array = NDArray[Any]

CLEAR_AT = 0.7
"""A finding is over below this share of its threshold (hysteresis of knowledge/retraining.md 3.5)."""
FAMILIES = 3
"""Inputs and scores; error stream; realised quality: each may spend an equal part of the false-page budget."""
RISE_FLOOR = 0.25
"""Smallest relative rise of the error that counts: with enough rows a detector finds rises that harm nobody."""


def level_of(policy: MonitorPolicy) -> float:
    """Alarm level of one family of statistics in one window, from the budget of false pages."""
    per_window = policy.false_pages_per_day * policy.window_us / 86_400_000_000
    return alarm_level(per_window / FAMILIES, policy.persistence)


def benjamini_hochberg(p_values: Array, level: float) -> float:
    """Largest p-value that is rejected when the expected share of false rejections is held at ``level``.

    Step-up procedure of Benjamini and Hochberg (1995). When nothing is rejected, the level a single smallest
    p-value would have had to reach.

    >>> benjamini_hochberg(np.array([0.01, 0.02, 0.6, 0.9]), 0.05)  # 0.02 <= 2/4 * 0.05
    0.025
    """
    ordered = np.sort(p_values.ravel())
    steps = level * np.arange(1, len(ordered) + 1) / len(ordered)
    passing = np.flatnonzero(ordered <= steps)
    return float(steps[passing[-1]] if len(passing) else steps[0])


def effect_floors(policy: MonitorPolicy) -> Array:
    """Smallest PSI and smallest rank distance that may alarm.

    The second follows from the first: a normal variable shifted by d deviations has PSI d**2, and its mean rank
    moves by P(X < Y) - 1/2 = normal_cdf(d / sqrt(2)) - 1/2, about d / (2 sqrt(pi)).
    """
    shift = math.sqrt(policy.effect_floor)
    return np.array([policy.effect_floor, 0.5 * math.erf(shift / 2)])


def judge_distances(
    cause: Cause, names: Sequence[str], distances_CS: Array, null: NullDistribution, policy: MonitorPolicy
) -> list[Verdict]:
    """One verdict per column and statistic: significant among all of them, and large enough to matter."""
    cut = benjamini_hochberg(null.p_values(distances_CS), level_of(policy))
    thresholds_CS = np.maximum(null.quantile(cut), effect_floors(policy))
    return [
        _verdict(cause, name, statistic, distances_CS[c, s], thresholds_CS[c, s])
        for c, name in enumerate(names)
        for s, statistic in enumerate(STATISTICS)
    ]


def judge_quality(metric: str, value: float, null_ascending: Array, policy: MonitorPolicy) -> Verdict:
    """Whether a realised metric (larger is better) fell below what the reference gives on as many rows.

    Args:
        metric: its name.
        value: measured on matured labels.
        null_ascending: the metric on resampled reference rows of the same class counts.
        policy: ``quality_drop`` is the smallest drop that counts.
    """
    usual = float(null_ascending.mean())
    lowest = float(np.quantile(null_ascending, level_of(policy), method="lower"))
    return _verdict(Cause.QUALITY, metric, "drop", usual - value, max(policy.quality_drop, usual - lowest))


def judge_change(statistic: str, mean: float, usual: float, rise: float) -> Verdict:
    """Whether the error of a window is still up after a detected rise.

    Args:
        statistic: name of the detector.
        mean: error of the window.
        usual: error before the rise; the mean so far when none was detected.
        rise: size of the detected rise, 0 when none was.
    """
    floor = RISE_FLOOR * usual
    increase = mean - usual
    if rise > 0:
        return _verdict(Cause.CONCEPT, "error", statistic, increase, max(rise / 2, floor))
    # Without a detection nothing alarms; the threshold tells how far away that is.
    verdict = _verdict(Cause.CONCEPT, "error", statistic, increase, max(floor, 1e-12))
    return replace(verdict, alarming=False)


def persistent(windows: Sequence[Iterable[str]], persistence: tuple[int, int]) -> tuple[str, ...]:
    """Subjects that alarmed in at least k of the last m windows, the newest included.

    >>> persistent([{"a"}, set(), {"a", "b"}], (2, 3))
    ('a',)
    """
    k, m = persistence
    recent = [frozenset(window) for window in windows[-m:]]
    if not recent:
        return ()
    return tuple(sorted(name for name in recent[-1] if sum(name in window for window in recent) >= k))


def is_clean(verdict: Verdict) -> bool:
    """Whether the finding is over, with hysteresis."""
    return not verdict.alarming and verdict.value < CLEAR_AT * verdict.threshold


def _verdict(cause: Cause, subject: str, statistic: str, value: float, threshold: float) -> Verdict:
    return Verdict(
        cause=cause,
        subject=subject,
        statistic=statistic,
        value=float(value),
        threshold=float(threshold),
        alarming=bool(value >= threshold),
    )
