"""Error rates of the canary's judge by simulation: 60 looks of 200 units, two events each, the policy's defaults.

Measured with 1,000 runs each, ``python -m tests.property.test_canary_error_rates 1000`` (the tests run 150 and 40):

    challenger                                 rolled back   median look
    as good, half of the flags in common              0.0%             -
    as good, no flag in common                        0.0%             -
    flags exactly 3 times as much                     0.8%             6
    flags exactly 3 times less                        0.5%            15
    loss exactly 0.002 higher                         0.5%            27
    loss exactly 0.002 higher, long tail up           0.0%             -
    loss exactly 0.002 higher, long tail down         2.7%            12
    flags 5 times as much                            99.8%            15
    flags 10 times as much                          100.0%             3
    flags 10 times less                              99.4%            20
    loss 0.010 higher                               100.0%             8
    loss 0.020 higher                               100.0%             5
"""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from headrace.contracts.monitoring import ArmEvidence
from headrace.spec.policies import RolloutPolicy
from workflows.canary import Finding, judge

POLICY = RolloutPolicy()
LOOKS = 60
UNITS = 200
"""Units in each look."""
EVENTS = 2
"""Events of a unit; all of them are flagged or none, the worst case for a test that counts events."""
FLAGGED = 0.01
POSITIVE = 0.01


@dataclass(frozen=True)
class Challenger:
    """How a challenger differs from its champion."""

    says: str
    ratio: float = 1.0
    """Flag rate over the champion's."""
    agreement: float = 0.5
    """Share of the rarer arm's flags that are in common."""
    loss: float = 0.0
    """True mean loss difference."""
    tail: float = 0.0
    """Losses of positives have one long tail, up (1) or down (-1)."""


HARMLESS = (
    Challenger("as good, half of the flags in common"),
    Challenger("as good, no flag in common", agreement=0.0),
    Challenger("flags exactly 3 times as much", ratio=3.0, agreement=0.0),
    Challenger("flags exactly 3 times less", ratio=1 / 3),
    Challenger("loss exactly 0.002 higher", loss=0.002),
    Challenger("loss exactly 0.002 higher, long tail up", loss=0.002, tail=1.0),
    Challenger("loss exactly 0.002 higher, long tail down", loss=0.002, tail=-1.0),
)
HARMFUL = (
    Challenger("flags 5 times as much", ratio=5.0),
    Challenger("flags 10 times as much", ratio=10.0),
    Challenger("flags 10 times less", ratio=0.1),
    Challenger("loss 0.010 higher", loss=0.010),
    Challenger("loss 0.020 higher", loss=0.020),
)


def simulate(challenger: Challenger, runs: int, seed: int = 0) -> list[int]:
    """Look at which each run was rolled back, 0 for never."""
    generator = np.random.default_rng(seed)
    both = challenger.agreement * FLAGGED * min(1.0, challenger.ratio)
    shares = [both, FLAGGED * challenger.ratio - both, FLAGGED - both]
    shares.append(1 - sum(shares))
    return [_first_harm(challenger, shares, generator) for _ in range(runs)]


def _first_harm(challenger: Challenger, shares: list[float], generator: np.random.Generator) -> int:
    both, only_challenger, only_champion, _ = generator.multinomial(UNITS, shares, LOOKS).cumsum(axis=0).T * EVENTS
    positives = generator.binomial(UNITS, POSITIVE, LOOKS)
    losses, squares = np.zeros(LOOKS), np.zeros(LOOKS)
    for look, count in enumerate(positives):
        skewed, even = generator.exponential(1.0, count) - 1.0, generator.normal(0.0, 1.0, count)
        of_positives = challenger.tail * skewed if challenger.tail else even
        units = np.concatenate([of_positives, generator.normal(0.0, 0.01, UNITS - count)]) + challenger.loss
        losses[look], squares[look] = units.sum(), (units**2).sum()
    sums, square_sums, seen_positives = losses.cumsum(), squares.cumsum(), positives.cumsum()
    for look in range(LOOKS):
        units = UNITS * (look + 1)
        evidence = ArmEvidence(
            units=units,
            events=units * EVENTS,
            flagged_challenger=int(both[look] + only_challenger[look]),
            flagged_champion=int(both[look] + only_champion[look]),
            flagged_only_challenger=int(only_challenger[look]),
            flagged_only_champion=int(only_champion[look]),
            matured_units=units,
            matured_events=units * EVENTS,
            matured_positives=int(seen_positives[look]),
            loss_sum=float(sums[look]),
            loss_sum_sq=float(square_sums[look]),
        )
        if any(guardrail.finding is Finding.HARM for guardrail in judge(evidence, POLICY)):
            return look + 1
    return 0


@pytest.mark.parametrize("challenger", HARMLESS, ids=lambda challenger: challenger.says)
def test_a_harmless_challenger_is_rolled_back_no_more_often_than_alpha(challenger: Challenger) -> None:
    rolled_back = np.mean([look > 0 for look in simulate(challenger, 150)])

    assert rolled_back <= POLICY.alpha


@pytest.mark.parametrize("challenger", HARMFUL, ids=lambda challenger: challenger.says)
def test_a_harmful_challenger_is_rolled_back(challenger: Challenger) -> None:
    rolled_back = np.mean([look > 0 for look in simulate(challenger, 40)])

    assert rolled_back >= 0.9


if __name__ == "__main__":
    for challenger in HARMLESS + HARMFUL:
        looks = [look for look in simulate(challenger, int(sys.argv[1])) if look]
        share, median = len(looks) / int(sys.argv[1]), int(np.median(looks)) if looks else 0
        print(f"{challenger.says:42} {share:7.1%} {median or '-':>6}")
