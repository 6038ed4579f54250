"""Schedules of faults on real servers: a seed is a schedule.

Each step publishes a part of the traffic, waits until the stream has applied some of it (or does not move any more),
and lets something happen.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

__all__ = ["Fault", "Schedule", "Step", "draw"]


class Fault(StrEnum):
    """What may happen."""

    KILL_WORKER = "a worker is killed"
    KILL_BROKER = "the broker is killed and comes back"
    KILL_STORE = "Redis is killed and comes back"
    RESTART_STORE = "Redis is stopped in order and comes back"
    EMPTY_STORE = "Redis is emptied"
    FILL_DISK = "no worker can write a file to its end; they die and there is room again"
    REPEAT_ALL = "every event so far is delivered again"
    DAMAGE = "workers are killed, and one file of one task's state is torn"
    ADD_WORKER = "a worker more begins"
    REMOVE_WORKER = "a worker leaves in order"
    ZOMBIE = "a worker is stopped until the group has given it up, and wakes"


_WEIGHTS = {
    Fault.KILL_WORKER: 5,
    Fault.KILL_BROKER: 2,
    Fault.KILL_STORE: 1.5,
    Fault.RESTART_STORE: 1,
    Fault.EMPTY_STORE: 2,
    Fault.FILL_DISK: 3,
    Fault.REPEAT_ALL: 2,
    Fault.DAMAGE: 2,
}
"""How often, beside each other. A broker takes six seconds to come back, so it dies in every fifth schedule only."""
_OF_SEVERAL = {Fault.ADD_WORKER: 7, Fault.REMOVE_WORKER: 5, Fault.ZOMBIE: 7}
"""Where several workers share the stream, about half of what happens is about them."""
_ALONE = (Fault.FILL_DISK, Fault.DAMAGE, Fault.KILL_WORKER, *_OF_SEVERAL)
"""They signal workers themselves, which must not be stopped meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One fault and its instant."""

    share: float
    """Part of the whole traffic that is published before it."""
    progress: float
    """Part of that which is applied when it happens."""
    fault: Fault
    stopped: bool
    """Whether the workers are stopped (SIGSTOP) while it happens, and go on behind it as if no time had passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What happens to one run of the stream."""

    seed: int
    workers: int
    """Processes that share the stream at the beginning."""
    most_workers: int
    steps: tuple[Step, ...]

    @property
    def loses_rows(self) -> bool:
        """Whether Redis may forget a row."""
        return not {Fault.EMPTY_STORE, Fault.KILL_STORE}.isdisjoint(step.fault for step in self.steps)

    @property
    def repeats(self) -> bool:
        """Whether something is delivered again."""
        return any(step.fault is Fault.REPEAT_ALL for step in self.steps)

    def __str__(self) -> str:
        begin = f"{self.workers} of at most {self.most_workers} workers; "
        return begin + "; ".join(
            f"{step.share:.0%} published, {step.progress:.0%} of it applied: {step.fault}"
            + (" while workers are stopped" if step.stopped else "")
            for step in self.steps
        )


def draw(seed: int, most_workers: int = 1) -> Schedule:
    """The schedule of a seed.

    Args:
        seed: which one.
        most_workers: how many processes may share the stream; with more than one they come and go.

    >>> draw(7) == draw(7), draw(7) == draw(8), draw(7, 3).workers <= 3
    (True, False, True)
    """
    rng = np.random.default_rng(seed)
    weights = _WEIGHTS | (_OF_SEVERAL if most_workers > 1 else {})
    shares = rng.dirichlet(np.ones(int(rng.integers(3, 6 if most_workers == 1 else 8))))[1:]  # the rest comes behind
    odds = np.array(list(weights.values()))
    faults = [Fault(fault) for fault in rng.choice(list(weights), len(shares), p=odds / odds.sum())]
    steps = tuple(
        Step(
            share=float(share),
            progress=float(rng.random()),
            fault=fault,
            stopped=bool(rng.random() < 0.3) and fault not in _ALONE,
        )
        for share, fault in zip(shares, faults, strict=True)
    )
    workers = int(rng.integers(1, most_workers + 1))
    return Schedule(seed=seed, workers=workers, most_workers=most_workers, steps=steps)
