"""Is this data at all? Nulls, schema, volume and freshness of one window; a finding here blocks retraining.

These are limits, not statistics: broken data is to be seen in the first window that holds it.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.monitoring import Cause, Verdict
from headrace.spec.policies import MonitorPolicy

__all__ = [
    "VOLUME_WINDOWS",
    "check_freshness",
    "check_nulls",
    "check_schema",
    "check_volume",
]

Array = NDArray[Any]

VOLUME_WINDOWS = 7
"""Windows the usual volume is the median of."""
MIN_VOLUME_WINDOWS = 3
NOISE_DEVIATIONS = 4.0


def check_nulls(
    names: Sequence[str], null_rates_C: Array, usual_rates_C: Array, rows: int, policy: MonitorPolicy
) -> list[Verdict]:
    """Null rate of each column against the reference's, with room for ``max_null_rate`` and for chance."""
    noise_C = NOISE_DEVIATIONS * np.sqrt(usual_rates_C * (1 - usual_rates_C) / max(rows, 1))
    limits_C = usual_rates_C + np.maximum(policy.max_null_rate, noise_C)
    return [
        _verdict(Cause.NULLS, name, "null_rate", rate, limit)
        for name, rate, limit in zip(names, null_rates_C, limits_C, strict=True)
    ]


def check_schema(names: Sequence[str], absent_rates_C: Array, policy: MonitorPolicy) -> list[Verdict]:
    """Share of rows that lack an input the model was trained on (lacking it is not the same as null)."""
    return [
        _verdict(Cause.SCHEMA, name, "absent_rate", rate, policy.max_null_rate)
        for name, rate in zip(names, absent_rates_C, strict=True)
    ]


def check_volume(rows: int, length_us: int, history: Sequence[float], policy: MonitorPolicy) -> list[Verdict]:
    """Rows of a window against the median of those before it; no verdict before three of them.

    Args:
        rows: rows of this window.
        length_us: its length.
        history: rows per microsecond of earlier windows, oldest first.
        policy: ``volume`` is the plausible range of the ratio.
    """
    if len(history) < MIN_VOLUME_WINDOWS:
        return []
    usual = statistics.median(list(history)[-VOLUME_WINDOWS:]) * length_us
    ratio = rows / usual if usual > 0 else (math.inf if rows else 1.0)
    low, high = policy.volume
    return [
        _verdict(Cause.VOLUME, "rows", "shortfall", max(1.0 - ratio, 0.0), 1.0 - low),
        _verdict(Cause.VOLUME, "rows", "excess", min(ratio, 1e9), high),
    ]


def check_freshness(silence_us: int, policy: MonitorPolicy) -> list[Verdict]:
    """Longest time without an event."""
    return [_verdict(Cause.FRESHNESS, "events", "silence_s", silence_us / 1e6, policy.freshness_us / 1e6)]


def _verdict(cause: Cause, subject: str, statistic: str, value: float, threshold: float) -> Verdict:
    return Verdict(
        cause=cause,
        subject=subject,
        statistic=statistic,
        value=float(value),
        threshold=float(threshold),
        alarming=bool(value >= threshold),
    )
