"""Tripwires: limits on a version on trial that need no statistics, no labels and no Temporal.

A state machine per trial: ``step`` takes one observation and says why the trial must end, or nothing.
"""

import math
from dataclasses import dataclass, replace

from headrace.spec.policies import Tripwires

__all__ = ["Observation", "TripState", "step"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the version on trial did with one event."""

    score: float | None
    """None when it raised."""
    error: str = ""
    """The exception, in one line."""
    shape: str = ""
    """Set when the answer was not one score per row: the inputs or outputs are not what was agreed."""
    latency_us: int
    inputs: bytes
    """The inputs; equal bytes are equal inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TripState:
    """Runs seen so far in one trial."""

    exceptions: int = 0
    slow: int = 0
    same: int = 0
    """Events in a row with the last score, each with inputs that differ from the event before."""
    score: float | None = None
    inputs: bytes = b""


def step(state: TripState, seen: Observation, limits: Tripwires) -> tuple[TripState, str]:
    """Take one observation; returns the next state and the reason to end the trial, empty when there is none."""
    slow = state.slow + 1 if seen.latency_us > limits.latency_ms * 1000 else 0
    if seen.score is None and not seen.shape:
        state = replace(state, exceptions=state.exceptions + 1, slow=slow)
        tripped = state.exceptions >= limits.max_exceptions
        return state, f"{state.exceptions} exceptions in a row, the last: {seen.error}" if tripped else ""
    same = 0
    if seen.score is not None and seen.score == state.score:
        same = state.same + (seen.inputs != state.inputs)
    state = TripState(slow=slow, same=same, score=seen.score, inputs=seen.inputs)
    return state, _reason(state, seen, limits)


def _reason(state: TripState, seen: Observation, limits: Tripwires) -> str:
    if seen.shape:
        return f"schema mismatch: {seen.shape}"
    if seen.score is None or not math.isfinite(seen.score) or not 0.0 <= seen.score <= 1.0:
        return f"score {seen.score} is no probability"
    if state.slow >= limits.latency_strikes:
        last = f"the last {seen.latency_us / 1000:.1f} ms"
        return f"{state.slow} predictions in a row above {limits.latency_ms:g} ms, {last}"
    if state.same + 1 >= limits.constant_after:
        return f"score {seen.score:g} for {state.same + 1} different inputs in a row"
    return ""
