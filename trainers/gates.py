"""Gates as pure decisions: what a candidate must prove, judged from the numbers of an evaluation.

A number that is not a number never passes. Without a champion the relative gates pass and say so.
Each gate has a fixture in the tests that it demonstrably blocks.
"""

import math
from collections.abc import Sequence

from headrace.contracts.artifacts import EvaluationReport, GateResult
from headrace.spec.policies import AtLeast, BeatsChampion, Calibration, Gate, Latency, SlicesHold
from trainers.metrics import HIGHER_IS_BETTER

__all__ = ["judge", "slice_name"]

FIRST = "there is no champion to compare with: passed"


def judge(report: EvaluationReport, gates: Sequence[Gate]) -> tuple[GateResult, ...]:
    """What each gate says about the candidate of a report, in their order."""
    return tuple(_judge(report, gate) for gate in gates)


def slice_name(gate: SlicesHold, column: str, lowest: float | None, highest: float | None) -> str:
    """Key of a slice in ``EvaluationReport.slices``; both bounds are included.

    >>> slice_name(SlicesHold(columns=("tx_amount",)), "tx_amount", 0.0, 21.5)
    'average_precision of tx_amount 0 to 21.5'
    """
    where = "null" if lowest is None or highest is None else f"{lowest:.6g} to {highest:.6g}"
    return f"{gate.metric} of {column} {where}"


def _judge(report: EvaluationReport, gate: Gate) -> GateResult:
    match gate:
        case AtLeast():
            return _at_least(report, gate)
        case BeatsChampion():
            return _relative(report, gate) or _beats_champion(report, gate)
        case SlicesHold():
            return _relative(report, gate) or _slices_hold(report, gate)
        case Calibration():
            return _ceiling(gate.kind, report.calibration_error, gate.max_error, "expected calibration error", "")
        case Latency():
            return _ceiling(gate.kind, report.latency_p99_ms, gate.p99_ms, "99th percentile of one prediction", " ms")


def _at_least(report: EvaluationReport, gate: AtLeast) -> GateResult:
    value = report.candidate.get(gate.metric, math.nan)
    higher = HIGHER_IS_BETTER[gate.metric]
    passed = value >= gate.value if higher else value <= gate.value
    wanted = f"at {'least' if higher else 'most'} {gate.value:.4f} is asked"
    counts = f"{report.positives} positives in {report.rows} rows"
    return _result(gate.kind, passed, value, gate.value, f"{gate.metric} {value:.4f} on {counts}; {wanted}")


def _relative(report: EvaluationReport, gate: BeatsChampion | SlicesHold) -> GateResult | None:
    """The answer of a relative gate when nothing can be compared, else None."""
    if report.champion_version is None:
        return _result(gate.kind, True, None, None, FIRST)
    if report.champion is None:
        sentence = f"champion {report.champion_version} needs inputs the test rows do not hold; it cannot be compared"
        return _result(gate.kind, False, None, None, sentence)
    return None


def _beats_champion(report: EvaluationReport, gate: BeatsChampion) -> GateResult:
    sign = 1 if HIGHER_IS_BETTER[gate.metric] else -1
    estimate, lower, upper = report.difference.get(gate.metric, (math.nan,) * 3)
    bound = lower if sign > 0 else -upper
    sentence = (
        f"{gate.metric} differs from {report.champion_version} by {estimate:+.4f}; better by {bound:+.4f} or more with"
        f" confidence {gate.confidence:g}, more than {gate.margin:+.4f} is asked"
    )
    return _result(gate.kind, bound > gate.margin, bound, gate.margin, sentence)


def _slices_hold(report: EvaluationReport, gate: SlicesHold) -> GateResult:
    sign = 1 if HIGHER_IS_BETTER[gate.metric] else -1
    prefixes = tuple(f"{gate.metric} of {column} " for column in gate.columns)
    found = {name: numbers for name, numbers in report.slices.items() if name.startswith(prefixes)}
    judged = {name: n for name, n in found.items() if n["positives"] >= gate.min_positives}
    if not judged:
        sentence = f"no slice of {len(found)} has the {gate.min_positives} positives it takes to judge it"
        return _result(gate.kind, False, None, -gate.margin, sentence)
    # The bound up to which the candidate may still be good, given the confidence; NaN sorts as the worst.
    bounds = {name: numbers["upper"] if sign > 0 else -numbers["lower"] for name, numbers in judged.items()}
    worst = min(bounds, key=lambda name: bounds[name] if math.isfinite(bounds[name]) else -math.inf)
    sentence = (
        f"worst of {len(judged)} slices is {worst}: {judged[worst]['estimate']:+.4f}, at best {bounds[worst]:+.4f} with"
        f" confidence {gate.confidence:g}; {-gate.margin:+.4f} is allowed, {len(found) - len(judged)} slices too small"
    )
    return _result(gate.kind, bounds[worst] >= -gate.margin, bounds[worst], -gate.margin, sentence)


def _ceiling(gate: str, value: float, limit: float, what: str, unit: str) -> GateResult:
    return _result(gate, value <= limit, value, limit, f"{what} {value:.4g}{unit}; at most {limit:g}{unit} is asked")


def _result(gate: str, passed: bool, value: float | None, limit: float | None, detail: str) -> GateResult:
    known = value is None or math.isfinite(value)
    return GateResult(gate=gate, passed=passed and known, value=value if known else None, limit=limit, detail=detail)
