"""Are inputs and scores of a window distributed as in training? Distances to the reference, judged together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.monitoring import Cause, Verdict
from headrace.spec.policies import MonitorPolicy
from monitors.policy import judge_distances, level_of
from monitors.profile import ColumnProfile
from monitors.reference import Reference
from monitors.statistics import psi, rank_distance, shares
from monitors.thresholds import NullCache
from monitors.windows import ClosedWindow

__all__ = ["distances", "judge_shape"]

Array = NDArray[Any]


def judge_shape(
    closed: ClosedWindow, reference: Reference, version: int, nulls: NullCache, policy: MonitorPolicy
) -> list[Verdict]:
    """Verdicts on every input, and on the version's scores where it scored enough rows."""
    rows = closed.joined
    from_us, until_us = closed.joined_from_us, closed.until_us
    verdicts = _judge(
        Cause.DRIFT, "inputs", reference.features, rows.features, reference, nulls, policy, from_us, until_us
    )
    scores, _ = rows.score_of(version)
    if int(np.isfinite(scores).sum()) >= policy.min_rows:
        matrix = scores[:, None]
        verdicts += _judge(
            Cause.PREDICTION, "scores", reference.scores, matrix, reference, nulls, policy, from_us, until_us
        )
    return verdicts


def distances(profile: ColumnProfile, values_NC: Array, from_us: int, until_us: int) -> Array:
    """PSI and rank distance of each column, (C, 2).

    Against the whole reference and against the same time of the week: the smaller one counts, because a Saturday
    that looks like the Saturdays of the reference is no drift. A column that is null throughout is no distance away;
    nulls have a check of their own.
    """
    actual = shares(profile.counts(values_NC))
    known = actual.sum(axis=-1) > 0
    found = _both(profile, profile.shares_CB, actual)
    season = profile.season(from_us, until_us)
    if season is not None:
        found = np.minimum(found, _both(profile, season, actual))
    return np.where(known[:, None], found, 0.0)


def _both(profile: ColumnProfile, expected: Array, actual: Array) -> Array:
    return np.stack([psi(profile.coarse(expected), profile.coarse(actual)), rank_distance(expected, actual)], axis=-1)


def _judge(
    cause: Cause,
    what: str,
    profile: ColumnProfile,
    values_NC: Array,
    reference: Reference,
    nulls: NullCache,
    policy: MonitorPolicy,
    from_us: int,
    until_us: int,
) -> list[Verdict]:
    null = nulls.get(f"{reference.model}/{reference.version}/{what}", profile, len(values_NC), level=level_of(policy))
    return judge_distances(cause, profile.names, distances(profile, values_NC, from_us, until_us), null, policy)
