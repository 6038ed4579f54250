"""From inputs to answers: scores of the versions a route names, and who answers when one fails."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.router import Route

__all__ = ["Answer", "Scored", "Scorer", "choose", "is_probability", "score_version"]


class Scorer(Protocol):
    """A loaded model version."""

    def score(self, matrix: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """Probability of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What one version made of the rows of one batch."""

    scores: tuple[float, ...] | None
    """One per row, as the model gave them; None when there are none to speak of."""
    error: str = ""
    """The exception, in one line."""
    shape: str = ""
    """Set when the answer was not one number per row."""
    latency_us: int = 0
    """Microseconds in the model, per row."""

    def usable(self, row: int) -> float | None:
        """Score of a row when it is a probability."""
        if self.scores is None:
            return None
        score = self.scores[row]
        return score if is_probability(score) else None

    def trouble(self, row: int) -> str:
        """Why a row has no usable score, for people."""
        return self.error or self.shape or f"score {self.scores[row] if self.scores else None}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one event is answered with."""

    version: str
    score: float | None
    flagged: bool
    fallback: str = ""
    """Why there is no score; empty when there is one."""


def is_probability(score: float) -> bool:
    return math.isfinite(score) and 0.0 <= score <= 1.0


def score_version(scorer: Scorer, matrix: npt.NDArray[np.float64], timer_ns: Callable[[], int]) -> Scored:
    """Score all rows; whatever the model does wrong becomes a value, because a user waits for an answer."""
    rows = len(matrix)
    began = timer_ns()
    try:
        made = scorer.score(matrix)
    except Exception as error:  # any code may run in a model; the tripwires judge it
        return Scored(scores=None, error=_one_line(error), latency_us=(timer_ns() - began) // 1000 // rows)
    latency_us = (timer_ns() - began) // 1000 // rows
    shape, kind = getattr(made, "shape", None), getattr(getattr(made, "dtype", None), "kind", "")
    if shape != (rows,) or kind != "f":
        return Scored(
            scores=None, shape=f"{kind or type(made).__name__} {shape} for {rows} rows", latency_us=latency_us
        )
    return Scored(scores=tuple(made.tolist()), latency_us=latency_us)


def choose(
    route: Route,
    row: int,
    scored: Mapping[str, Scored],
    thresholds: Mapping[str, float],
    *,
    barred: str = "",
) -> Answer:
    """Answer one event: the routed version, its understudy when it failed or is barred, or nobody.

    Args:
        route: decision for the event.
        row: its place in the batch.
        scored: version -> scores; holds the understudy whenever it may be needed.
        thresholds: version -> score from which an event is flagged.
        barred: a version that tripped on this very batch.
    """
    trouble = ""
    for version in (route.serves, route.understudy):
        if not version or (version == barred and route.understudy):
            continue
        score = scored[version].usable(row)
        if score is not None:
            return Answer(version=version, score=score, flagged=score >= thresholds[version])
        trouble = trouble or f"{version} failed: {scored[version].trouble(row)}"
    return Answer(version=route.serves, score=None, flagged=False, fallback=trouble)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
