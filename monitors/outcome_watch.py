"""Is the model still right? Quality and error of the champion on labels that matured, window by window."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.monitoring import Verdict
from headrace.spec.policies import MonitorPolicy
from monitors.detectors import ChangeDetector, adwin, hddm_a
from monitors.label_join import Matured, Waiting
from monitors.policy import CLEAR_AT, FAMILIES, judge_change, judge_quality
from monitors.quality import MIN_POSITIVES, measure, null_average_precision
from monitors.reference import Reference

__all__ = ["OutcomeWatch"]

Array = NDArray[Any]

MIN_COVERAGE = 0.8
"""Share of labels that must have come; with fewer the quality of those that came proves nothing."""
SEED = 20_180_401


class OutcomeWatch:
    """Collects matured rows until they can be judged; all of it is about one version.

    Args:
        policy: limits and the false-page budget.
        slices: names of the sliced inputs.
    """

    def __init__(self, policy: MonitorPolicy, slices: list[str]) -> None:
        self._policy, self._slices = policy, slices
        self.begin_version()

    def begin_version(self) -> None:
        """Another version is champion: its errors have nothing to do with those before."""
        spare = self._policy.false_pages_per_day * self._policy.window_us / 86_400_000_000 / FAMILIES / 2
        self._detectors: dict[str, ChangeDetector] = {"adwin": adwin(spare), "hddm_a": hddm_a(spare)}
        self._labels = np.zeros(0, np.int8)
        self._scores = np.zeros(0)
        self._segments = np.zeros((0, len(self._slices)), np.int8)
        self._missing = 0

    def judge(
        self, matured: Matured, version: int, reference: Reference | None
    ) -> tuple[dict[str, float], list[Verdict]]:
        """Quality and verdicts of one window; empty without enough matured positives.

        Args:
            matured: what came to light in the window.
            version: code of the champion.
            reference: its reference.
        """
        rows = matured.whole.and_then(matured.partial)
        rows = rows.take(np.lexsort((rows.ids, rows.times_us)))
        scores = rows.score_of(version)
        usable = np.isfinite(scores)
        verdicts = self._judge_errors(rows.take(usable), scores[usable], reference)
        self._labels = np.concatenate([self._labels, rows.labels[usable]])
        self._scores = np.concatenate([self._scores, scores[usable]])
        self._segments = np.concatenate([self._segments, rows.segments[usable]])
        self._missing += matured.unlabelled
        positives = int((self._labels == 1).sum())
        if positives < MIN_POSITIVES:
            return {}, verdicts
        found = measure(self._labels, self._scores, self._segments, self._slices)
        coverage = len(self._labels) / (len(self._labels) + self._missing)
        found["label_coverage"] = coverage
        if reference is not None and coverage >= MIN_COVERAGE:
            null = null_average_precision(
                reference.labels, reference.label_scores, rows=len(self._labels), positives=positives, seed=SEED
            )
            if null is not None:
                verdicts.append(judge_quality("average_precision", found["average_precision"], null, self._policy))
                found["average_precision_usual"] = float(null.mean())
        self._labels, self._scores, self._segments = self._labels[:0], self._scores[:0], self._segments[:0]
        self._missing = 0
        return found, verdicts

    def arrays(self) -> dict[str, Array]:
        """For a snapshot."""
        kept: dict[str, Array] = {
            "labels": self._labels,
            "scores": self._scores,
            "segments": self._segments,
            "missing": np.array([self._missing]),
        }
        for statistic, detector in self._detectors.items():
            kept |= {f"{statistic}/{name}": array for name, array in detector.arrays().items()}
        return kept

    def restore(self, arrays: dict[str, Array]) -> None:
        """Take up where a snapshot was made."""
        self._labels, self._scores, self._segments = arrays["labels"], arrays["scores"], arrays["segments"]
        self._missing = int(arrays["missing"][0])
        for statistic, detector in self._detectors.items():
            prefix = f"{statistic}/"
            detector.restore(
                {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            )

    def _judge_errors(self, rows: Waiting, scores: Array, reference: Reference | None) -> list[Verdict]:
        errors = {"adwin": (scores - rows.labels) ** 2}
        if reference is not None:
            errors["hddm_a"] = ((scores >= reference.threshold) != (rows.labels == 1)).astype(np.float64)
        verdicts = []
        for statistic, values in errors.items():
            detector = self._detectors[statistic]
            change = detector.feed(values)
            if change is None:
                continue
            verdict = judge_change(statistic, change.mean, change.usual, change.rise)
            verdicts.append(verdict)
            if change.rise and verdict.value < CLEAR_AT * verdict.threshold:
                detector.forget_rise()
        return verdicts
