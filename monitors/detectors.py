"""River's change detectors on the error stream of one model version.

A detector speaks once, when the mean changes. Persistence needs more: after a detected rise this class goes on
comparing every window with the mean before the rise, until the error has come back or the version is replaced.

ADWIN: Bifet and Gavalda 2007. HDDM-A: Frias-Blanco et al. 2015. Both assume bounded values, here 0 to 1, and both die
silently of a single NaN (measured), so nothing that is not finite reaches them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN
from river.drift.binary import HDDMA

__all__ = ["ChangeDetector", "ErrorChange", "adwin", "hddm_a"]

Array = NDArray[Any]

MAX_HISTORY = 200_000
"""Values kept to build the detector again after a restart; beyond it the older half is forgotten, restart or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorChange:
    """The error of one window beside what it was."""

    mean: float
    usual: float
    """Mean before the detected rise; mean of the history when none is in force."""
    rise: float
    """Size of the rise in force, 0 when none is."""


class ChangeDetector:
    """A detector with its memory.

    Its state is the values since its last restart: feeding them to a new detector gives the same detector, which is
    how a snapshot restores it without pickle.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._detector = make()
        self._history = np.zeros(0)
        self._usual = float("nan")
        self._rise = 0.0

    def feed(self, errors_N: Array) -> ErrorChange | None:
        """Take the errors of one window in order of event time; None when none is a number."""
        errors = errors_N[np.isfinite(errors_N)]
        if not len(errors):
            return None
        mean = float(errors.mean())
        before = float(self._history.mean()) if len(self._history) else float("nan")
        if self._update(errors):
            if not self._rise and mean > before:
                self._usual, self._rise = before, mean - before
            self._restart(errors)
        else:
            self._history = np.concatenate([self._history, errors])
            if len(self._history) > MAX_HISTORY:
                self._restart(self._history[-MAX_HISTORY // 2 :])
        usual = self._usual if self._rise else before
        return ErrorChange(mean=mean, usual=usual if usual == usual else mean, rise=self._rise)

    def forget_rise(self) -> None:
        """The error has come back."""
        self._usual, self._rise = float("nan"), 0.0

    def arrays(self) -> dict[str, Array]:
        """For a snapshot."""
        return {"history": self._history, "rise": np.array([self._usual, self._rise])}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take up where a snapshot was made."""
        self._usual, self._rise = (float(value) for value in arrays["rise"])
        self._restart(arrays["history"])

    def _restart(self, history: Array) -> None:
        self._detector = self._make()
        self._history = history
        self._update(history)

    def _update(self, errors: Array) -> bool:
        detected = False
        for error in errors.tolist():
            self._detector.update(error)
            detected = detected or self._detector.drift_detected
        return detected


def adwin(false_alarms_per_window: float) -> ChangeDetector:
    """ADWIN on a bounded error such as the squared one; never less strict than its default of 0.002."""
    delta = min(0.002, false_alarms_per_window)
    return ChangeDetector(lambda: ADWIN(delta=delta))


def hddm_a(false_alarms_per_window: float) -> ChangeDetector:
    """HDDM-A on wrong (1) and right (0) decisions; never less strict than its default of 0.001."""
    confidence = min(0.001, false_alarms_per_window)
    return ChangeDetector(lambda: HDDMA(drift_confidence=confidence))
