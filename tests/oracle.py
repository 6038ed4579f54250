"""What a feature is, said slowly: every event is looked at for every value. Used only to compare."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from datasketches import frequent_items_error_type, frequent_strings_sketch, hll_sketch, tdigest_double, tgt_hll_type

from feature_store.ids import event_id64
from headrace.spec.aggregations import Feature
from headrace.spec.conditions import AllOf, AnyOf, Compare, Condition, IsNull, Not
from headrace.spec.features import FeatureView
from headrace.spec.types import String

__all__ = ["Near", "OracleEvent", "row_values"]


@dataclass
class OracleEvent:
    key: int | str
    t: int
    id: int
    values: dict[str, int | str | None] = field(default_factory=dict)
    """Column -> whole steps or text, None for null."""


class Near(float):
    """A number that was computed in another order: equal to what is within its tolerance."""

    tolerance = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and math.isclose(self, float(other), rel_tol=1e-12, abs_tol=self.tolerance)

    __hash__ = None


def row_values(
    view: FeatureView, events: Sequence[OracleEvent], q: int, *, now: int | None = None
) -> list[float | None]:
    """The cells of all values at ``q``, in declared order; ``events`` are those of one key, once each.

    ``now``: instant for what changes as time passes, when it is not ``q``.
    """
    ordered = sorted(events, key=lambda event: (event.t, event.id))
    return [
        cell
        for feature in view.features
        for cell in _cells(view, feature, _window(view, feature, ordered, q), (q if now is None else now))
    ]


def _window(view: FeatureView, feature: Feature, events: Sequence[OracleEvent], q: int) -> list[OracleEvent]:
    at, window = q - feature.delay_us, feature.window
    with_old, with_new = view.closed in ("left", "both"), view.closed in ("right", "both")
    seen = [event for event in events if event.t < at or (with_new and event.t == at)]
    if window.kind == "lifetime":
        return seen
    if window.kind == "tumbling":
        begin = at // window.length_us * window.length_us
        if not with_old and begin == at:
            begin -= window.length_us
        if window.completed:
            seen = [event for event in events if event.t < begin or (not with_old and event.t == begin)]
            begin -= window.length_us
    else:
        begin = at - window.length_us
        if window.hop_us:
            begin = begin // window.hop_us * window.hop_us
    inside = [event for event in seen if event.t > begin or (with_old and event.t == begin)]
    if window.kind != "session":
        return inside
    current: list[OracleEvent] = []
    for event in reversed(inside):
        if (current[0].t if current else at) - event.t > window.gap_us:
            break
        current.insert(0, event)
    return current


def _cells(view: FeatureView, feature: Feature, window: list[OracleEvent], now: int) -> list[float | None]:
    of, at = feature.aggregation, now - feature.delay_us
    known = [True if of.where is None else _holds(of.where, event, view) for event in window]
    matching = [event for event, holds in zip(window, known, strict=True) if holds]
    if of.kind == "count":
        return [float(len(matching))]
    if of.kind == "share":
        certain = [holds for holds in known if holds is not None]
        return [sum(certain) / len(certain) if certain else feature.empty]
    if of.kind == "since_last":
        return [(at - matching[-1].t) / 1e6 if matching else feature.empty]
    column = of.column or ""
    kind = view.source.schema[column]
    scale = 1.0 if isinstance(kind, String) else float(kind.scale)
    given = [event for event in matching if event.values[column] is not None]
    numbers = [event.values[column] for event in given]
    n = len(numbers)
    if feature.is_sketch:
        return _estimate(feature, numbers, scale)
    if of.kind == "distinct":
        return [float(len(set(numbers)))]
    if of.kind == "last_k":
        return _padded([x / scale for x in reversed(numbers)], of.k)
    if of.kind == "top_k":
        counts, newest = Counter(numbers), {x: place for place, x in enumerate(numbers)}
        ranked = sorted(counts, key=lambda x: (-counts[x], -newest[x]))
        return _padded([x / scale for x in ranked], of.k)
    if not n:
        return [feature.empty]
    total = sum(numbers)
    if of.kind in ("sum", "mean"):
        return [float(total) / (scale if of.kind == "sum" else n * scale)]
    if of.kind in ("var", "std"):
        if n <= of.k:
            return [feature.empty]
        spread = n * sum(x * x for x in numbers) - total * total
        value = float(spread) / float(n * (n - of.k)) / (scale * scale)
        return [math.sqrt(value) if of.kind == "std" else value]
    if of.kind == "quantile":
        return [float(sorted(numbers)[math.ceil(of.rank * n) - 1]) / scale]
    if of.kind in ("decayed_sum", "decayed_mean"):
        weights = [2.0 ** (-(at - event.t) / of.half_life_us) for event in given]
        if of.kind == "decayed_mean":  # the weights may all be too small for a double, their ratios are not
            weights = [2.0 ** (-(given[-1].t - event.t) / of.half_life_us) for event in given]
        whole = 1.0 if of.kind == "decayed_sum" else math.fsum(weights)
        near = Near(math.fsum(x * w for x, w in zip(numbers, weights, strict=True)) / whole / scale)
        near.tolerance = 1e-12 * math.fsum(abs(x) * w for x, w in zip(numbers, weights, strict=True)) / whole / scale
        return [near]
    chosen = {"min": min(numbers), "max": max(numbers), "first": numbers[0], "last": numbers[-1]}[of.kind]
    return [float(chosen) / scale]


def _estimate(feature: Feature, numbers: list[int | str], scale: float) -> list[float | None]:
    """A sketch that is fed one value after the other, from the first on, and never put down."""
    of = feature.aggregation
    if of.kind == "approx_distinct":
        registers = hll_sketch(12, tgt_hll_type.HLL_4)
        for x in numbers:
            registers.update(event_id64(x) if isinstance(x, str) else x)
        return [float(round(registers.get_estimate()))]
    if of.kind == "approx_top_k":
        counters = frequent_strings_sketch(9)
        for x in numbers:
            counters.update(str(x))
        found = counters.get_frequent_items(frequent_items_error_type.NO_FALSE_NEGATIVES)
        ranked = sorted(((-estimate, int(x)) for x, estimate, *_ in found))
        return _padded([x / scale for _, x in ranked], of.k)
    if not numbers:
        return [feature.empty]
    digest = tdigest_double(200)
    for place, x in enumerate(numbers, start=1):
        digest.update(float(x))
        if place % 64 == 0:
            digest.compress()
    return [digest.get_quantile(float(of.rank)) / scale]


def _padded(items: list[float], k: int) -> list[float | None]:
    return [*items[:k], *[None] * (k - len(items))]


def _holds(condition: Condition, event: OracleEvent, view: FeatureView) -> bool | None:
    """True, false or unknown."""
    if isinstance(condition, Not):
        inner = _holds(condition.of, event, view)
        return None if inner is None else not inner
    if isinstance(condition, AllOf | AnyOf):
        both = (_holds(condition.left, event, view), _holds(condition.right, event, view))
        decisive = isinstance(condition, AnyOf)
        return decisive if decisive in both else None if None in both else not decisive
    if isinstance(condition, IsNull):
        return event.values[condition.column] is None
    assert isinstance(condition, Compare)
    value, wanted = event.values[condition.column], condition.value
    if value is None:
        return None
    kind = view.source.schema[condition.column]
    if not isinstance(kind, String):
        wanted = round(wanted * kind.scale)
    return {
        "eq": value == wanted,
        "ne": value != wanted,
        "lt": value < wanted,
        "le": value <= wanted,
        "gt": value > wanted,
        "ge": value >= wanted,
    }[condition.operator]
