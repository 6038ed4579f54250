"""Two computations of the same features, compared value by value and bit by bit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "FeatureCheck", "FeatureComparison"]

Matrix = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class FeatureCheck:
    """What the comparison found for one feature."""

    name: str
    compared: int = 0
    mismatches: int = 0
    """Values that differ, missing ones included."""
    missing: int = 0
    """Of those: null on one side only."""
    late: int = 0
    """Differences that data explains which arrived after the read; not counted as mismatches."""
    largest: float = 0.0
    """Largest absolute difference of two numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One mismatch, to look at."""

    of: str
    """Prediction or key."""
    feature: str
    at_us: int
    logged: float | None
    """None: null, no number, or not finite."""
    recomputed: float | None


class FeatureComparison:
    """Adds up comparisons of (n, F) matrices whose columns are ``names``; NaN is null."""

    def __init__(self, names: Sequence[str], *, most_examples: int = 20) -> None:
        self.checks = [FeatureCheck(name=name) for name in names]
        self.examples: list[Difference] = []
        self._most_examples = most_examples

    @property
    def compared(self) -> int:
        return sum(check.compared for check in self.checks)

    @property
    def mismatches(self) -> int:
        return sum(check.mismatches for check in self.checks)

    def add(
        self,
        logged: Matrix,
        recomputed: Matrix,
        *,
        of: Sequence[str],
        at_us: NDArray[np.int64],
        skip: NDArray[np.bool_] | None = None,
        as_served: Matrix | None = None,
        unreadable: NDArray[np.bool_] | None = None,
    ) -> None:
        """Compare one batch.

        Args:
            logged: (n, F) what was read.
            recomputed: (n, F) what should have been read.
            of: (n,) names of the rows.
            at_us: (n,) their instants.
            skip: (n, F) values that promise nothing.
            as_served: (n, F) recomputed from what had arrived by then; a value equal to it differs by late data only.
            unreadable: (n, F) what was read is no such value, nor null; it differs from everything.
        """
        considered = np.ones(logged.shape, np.bool_) if skip is None else ~skip
        broken = np.zeros(logged.shape, np.bool_) if unreadable is None else unreadable
        differs = considered & (broken | ~same_bits(logged, recomputed))
        late = np.zeros_like(differs) if as_served is None else differs & same_bits(logged, as_served)
        differs &= ~late
        missing = differs & ~broken & (np.isnan(logged) != np.isnan(recomputed))
        both = differs & np.isfinite(logged) & np.isfinite(recomputed)
        distance = np.abs(np.subtract(logged, recomputed, out=np.zeros(logged.shape), where=both))
        for f, check in enumerate(self.checks):
            check.compared += int(considered[:, f].sum())
            check.mismatches += int(differs[:, f].sum())
            check.missing += int(missing[:, f].sum())
            check.late += int(late[:, f].sum())
            check.largest = max(check.largest, float(distance[:, f].max(initial=0.0)))
        for row, f in zip(*np.nonzero(differs), strict=True):
            if len(self.examples) == self._most_examples:
                break
            self.examples.append(
                Difference(
                    of=of[row],
                    feature=self.checks[f].name,
                    at_us=int(at_us[row]),
                    logged=_number(logged[row, f]),
                    recomputed=_number(recomputed[row, f]),
                )
            )


def same_bits(left: Matrix, right: Matrix) -> NDArray[np.bool_]:
    """Where two matrices hold the same bits, any null being like any other."""
    equal = np.ascontiguousarray(left).view(np.int64) == np.ascontiguousarray(right).view(np.int64)
    both: NDArray[np.bool_] = equal | (np.isnan(left) & np.isnan(right))
    return both


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
