"""Watches the version on trial of one model across threads and says once why its trial must end."""

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from headrace.contracts.rollout import RolloutRecord
from headrace.spec.policies import Tripwires
from serving.predictor import Scored
from serving.router import on_trial
from serving.tripwires import Observation, TripState, step

__all__ = ["TrialGuard"]


class TrialGuard:
    """Feeds the tripwires with every score of the version on trial.

    Args:
        limits: the model's tripwires.
        trip: called once per trial with the record, the reason and the event time in microseconds.
    """

    def __init__(self, limits: Tripwires, trip: Callable[[RolloutRecord, str, int], None]) -> None:
        self._limits = limits
        self._trip = trip
        self._lock = threading.Lock()
        self._trial = ("", "")
        self._state = TripState()
        self._ended = ""

    def observe(
        self, record: RolloutRecord, scored: dict[str, Scored], matrix: npt.NDArray[np.float64], at_us: int
    ) -> str:
        """Take the scores of one batch; returns the version whose trial has ended, empty when it goes on.

        Scores of versions not on trial are ignored.
        """
        version = on_trial(record)
        seen = scored.get(version)
        if not version or seen is None:
            return ""
        with self._lock:
            if self._trial != (record.rollout_id, version):
                self._trial, self._state, self._ended = (record.rollout_id, version), TripState(), ""
            if self._ended:
                return version
            for number, line in enumerate(matrix):
                observation = Observation(
                    score=None if seen.scores is None else seen.scores[number],
                    error=seen.error,
                    shape=seen.shape,
                    latency_us=seen.latency_us,
                    inputs=line.tobytes(),
                )
                self._state, self._ended = step(self._state, observation, self._limits)
                if self._ended:
                    break
            reason = self._ended
        if not reason:
            return ""
        self._trip(record, reason, at_us)
        return version
