"""Is the challenger harmful? Always-valid tests on sufficient statistics: looking at every window costs nothing.

Four guardrails, the first three sharing the policy's ``alpha`` evenly:

===========  ====================================================  ==================================================
guardrail    harm                                                  test
===========  ====================================================  ==================================================
flags_up     challenger flags ``score_shift`` times as much        paired betting e-process on flagged events, and
             as the champion, and as ``expected_share``            a likelihood ratio against the expected share
flags_down   ``score_shift`` times less than both                  the same with the arms exchanged
loss         mean log loss rises by more than ``loss_margin``      asymptotic confidence sequence, one-sided
failures     ``max_exceptions`` scores missing or not finite       none; a tripwire
===========  ====================================================  ==================================================

**Flags.** Both arms score every event, so each flagged event is one of three outcomes: flagged by both, only by the
challenger (X), only by the champion (Y). Under "the challenger's rate is at most s times the champion's" the payoff
``X/s - Y`` has no positive mean, hence the wealth of betting a share b in (0, 1) on it,

    (1 + b/s)^X  (1 - b)^Y  (1 + b/s - b)^both,

is an e-process, and so is its mean over b: it exceeds 1/alpha with probability at most alpha, however often one looks
(Ville 1939; Waudby-Smith & Ramdas 2024, *Estimating means of bounded random variables by betting*, JRSS-B 86(1)).
For s = 1 it is the sequential McNemar test on discordant pairs; for arms that never agree, the conditional
binomial test of Lindon & Malek 2022 (*Anytime-valid inference for multinomial count data*, NeurIPS).
A champion that drift has silenced flags nothing, and any successor flags infinitely more. Harm therefore also needs
the challenger's own rate p beyond ``score_shift`` times the policy's ``expected_share``, say beyond q0: the likelihood
ratio (q/q0)^flags ((1-q)/(1-q0))^rest, averaged over rates q beyond q0, is an e-process for "p is not beyond q0"
(Wald 1945; Robbins 1970). Both must speak for harm, so alpha holds; either may speak against it, at half of alpha each.

Events of one routing unit are not independent: counts are deflated by events per unit before they are used, as if
all flags of a unit were one.

**Loss.** Per-unit loss differences: the running mean has the one-sided asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2021, arXiv 2103.06476, section 2 and appendix on one-sided bounds).
It rests on a central limit, so it says nothing before ``min_units`` units and ``MIN_POSITIVES`` positive labels.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from headrace.contracts.monitoring import ArmEvidence
from headrace.spec.policies import RolloutPolicy

__all__ = ["MIN_POSITIVES", "Detectable", "Finding", "Guardrail", "detectable", "judge"]

MIN_POSITIVES = 10
"""Positive labels below which a mean log loss is too skewed for a central limit."""

_TUNED_TO_UNITS = 20
"""The loss bound is tightest at this multiple of ``min_units``; 10 times more or fewer widens it by under a third."""

_BETS = tuple((k + 0.5) / 24 for k in range(24))
"""Shares of the wealth that are bet, evenly: the best one depends on the unknown rates."""

_STEPS = tuple(0.9 * 0.7**k for k in range(14))
"""How far beyond the edge the tried flag rates lie, as shares of what is left there; finer close to the edge."""

_Z80 = 0.8416
"""Standard normal quantile of 80 %, for stated power."""


class Finding(StrEnum):
    """What a guardrail says."""

    HARM = "harm"
    NO_HARM = "no_harm"
    """Harm is excluded with the same confidence."""
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """One guardrail at one instant; stored with the decision so that it can be checked later."""

    name: str
    finding: Finding
    limit: float
    """From where on it is harm."""
    detail: str
    estimate: float | None = None
    """Ratio of flag rates, mean loss difference or number of failures."""
    lower: float | None = None
    upper: float | None = None
    """Confidence bounds (loss)."""
    e_harm: float | None = None
    """Evidence for harm (flags); at ``3/alpha`` it is proven."""
    e_safe: float | None = None
    """Evidence against harm, on the same scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detectable:
    """Smallest harm that a rollout will notice in eight of ten cases."""

    flag_factor: float | None
    """Factor on the share of flagged events; None when not even one of 64 margins would be noticed."""
    loss_increase: float
    """Increase of mean log loss."""


def judge(evidence: ArmEvidence, policy: RolloutPolicy) -> tuple[Guardrail, ...]:
    """All guardrails on the evidence so far."""
    alpha = policy.alpha / 3
    return (
        _flags("flags_up", evidence, policy, alpha, upward=True),
        _flags("flags_down", evidence, policy, alpha, upward=False),
        _loss(evidence, policy, alpha),
        _failures(evidence, policy.tripwires.max_exceptions),
    )


def detectable(policy: RolloutPolicy, units: int, *, flagged_share: float = 0.01, loss_sd: float = 0.1) -> Detectable:
    """What ``units`` units can prove with 80 % power, for the plan of a rollout.

    Args:
        policy: alpha and margins.
        units: routing units (times windows) seen, one event each; at least 1.
        flagged_share: share of events the champion flags.
        loss_sd: standard deviation of a unit's loss difference.
    """
    alpha = policy.alpha / 3
    threshold = math.log(1 / alpha)
    low, high = policy.score_shift, policy.score_shift * 64
    noticeable = _planned_log_e(high, policy.score_shift, units * flagged_share) >= threshold
    while noticeable and high - low > 0.01:
        middle = (low + high) / 2
        if _planned_log_e(middle, policy.score_shift, units * flagged_share) < threshold:
            low = middle
        else:
            high = middle
    width = loss_sd * (_radius(units, alpha, policy) + _Z80 / math.sqrt(units))
    return Detectable(flag_factor=round(high, 2) if noticeable else None, loss_increase=policy.loss_margin + width)


def _flags(name: str, evidence: ArmEvidence, policy: RolloutPolicy, alpha: float, *, upward: bool) -> Guardrail:
    shift = policy.score_shift
    limit = shift if upward else 1 / shift
    if not evidence.units:
        return Guardrail(name=name, finding=Finding.UNDECIDED, limit=limit, detail="nothing was scored by both yet")
    deflate = min(1.0, evidence.units / evidence.events)
    only_challenger = evidence.flagged_only_challenger * deflate
    only_champion = evidence.flagged_only_champion * deflate
    both = (evidence.flagged_challenger - evidence.flagged_only_challenger) * deflate
    more, less = (only_challenger, only_champion) if upward else (only_champion, only_challenger)
    flags, edge = evidence.flagged_challenger * deflate, limit * policy.expected_share
    rest = max(evidence.events * deflate - flags, 0.0)
    log_harm = min(_log_wealth(more, less, both, shift), _log_ratio(flags, rest, edge, above=upward))
    log_safe = max(_log_wealth(less, more, both, 1 / shift), _log_ratio(flags, rest, edge, above=not upward))
    champion, challenger = evidence.flagged_champion, evidence.flagged_challenger
    return Guardrail(
        name=name,
        finding=_finding(harm=log_harm >= math.log(1 / alpha), safe=log_safe >= math.log(2 / alpha)),
        limit=limit,
        detail=f"challenger flagged {challenger} and champion {champion} of {evidence.events} events "
        f"of {evidence.units} units; harm is {'above' if upward else 'below'} {limit:.3g} times that and {edge:.2%}",
        estimate=challenger / champion if champion else None,
        e_harm=_bounded_exp(log_harm),
        e_safe=_bounded_exp(log_safe),
    )


def _loss(evidence: ArmEvidence, policy: RolloutPolicy, alpha: float) -> Guardrail:
    units, needed = evidence.matured_units, max(2, policy.min_units)
    mean = evidence.loss_sum / units if units else None
    if mean is None or units < needed or evidence.matured_positives < MIN_POSITIVES:
        return Guardrail(
            name="loss",
            finding=Finding.UNDECIDED,
            limit=policy.loss_margin,
            detail=f"{units} matured units with {evidence.matured_positives} positive labels; "
            f"judged from {needed} and {MIN_POSITIVES}",
            estimate=mean,
        )
    variance = max(evidence.loss_sum_sq / units - mean * mean, 0.0)
    width = math.sqrt(variance) * _radius(units, alpha, policy)
    lower, upper = mean - width, mean + width
    return Guardrail(
        name="loss",
        finding=_finding(harm=lower > policy.loss_margin, safe=upper < policy.loss_margin),
        limit=policy.loss_margin,
        detail=f"mean log loss changed by {mean:+.5f} ({lower:+.5f} to {upper:+.5f}) over {units} matured units; "
        f"harm is above {policy.loss_margin:+.5f}",
        estimate=mean,
        lower=lower,
        upper=upper,
    )


def _failures(evidence: ArmEvidence, limit: int) -> Guardrail:
    clean = Finding.NO_HARM if evidence.events else Finding.UNDECIDED
    return Guardrail(
        name="failures",
        finding=Finding.HARM if evidence.failures >= limit else clean,
        limit=limit,
        detail=f"{evidence.failures} scores of the challenger were missing or not finite; harm is {limit}",
        estimate=evidence.failures,
    )


def _log_wealth(more: float, less: float, both: float, shift: float) -> float:
    """Log of the mean wealth of bets that ``more`` is flagged over ``shift`` times as often as ``less``.

    >>> _log_wealth(0, 0, 0, 3.0)
    0.0
    """
    logs = [
        more * math.log1p(bet / shift) + less * math.log1p(-bet) + both * math.log1p(bet / shift - bet) for bet in _BETS
    ]
    top = max(logs)
    return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))


def _log_ratio(flags: float, rest: float, edge: float, *, above: bool) -> float:
    """Log of the mean likelihood ratio of flag rates beyond ``edge`` to ``edge`` itself.

    >>> _log_ratio(30, 70, 0.03, above=True) > 0 > _log_ratio(30, 70, 0.03, above=False)
    True
    """
    edge = min(edge, 0.99)
    shares = (edge + (1 - edge) * step for step in _STEPS) if above else (edge * (1 - step) for step in _STEPS)
    logs = [flags * math.log(share / edge) + rest * math.log((1 - share) / (1 - edge)) for share in shares]
    top = max(logs)
    return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))


def _radius(units: int, alpha: float, policy: RolloutPolicy) -> float:
    """Half-width of the one-sided confidence sequence after ``units`` observations, in standard deviations."""
    tuned = _TUNED_TO_UNITS * max(2, policy.min_units)
    spread = -2 * math.log(2 * alpha)
    rho_sq = (spread + math.log(spread + 1)) / tuned
    scale = units * rho_sq + 1
    return math.sqrt(2 * scale / (units * units * rho_sq) * math.log1p(math.sqrt(scale) / (2 * alpha)))


def _planned_log_e(factor: float, shift: float, flags: float) -> float:
    """Evidence after ``flags`` flags of the champion when the arms never agree, at the unlucky fifth of outcomes."""
    more = flags * factor
    return _log_wealth(max(more - _Z80 * math.sqrt(more), 0.0), flags + _Z80 * math.sqrt(flags), 0.0, shift)


def _finding(*, harm: bool, safe: bool) -> Finding:
    return Finding.HARM if harm else Finding.NO_HARM if safe else Finding.UNDECIDED


def _bounded_exp(log_e: float) -> float:
    """A finite number for the record, whatever the evidence."""
    return math.exp(min(log_e, 500.0))
