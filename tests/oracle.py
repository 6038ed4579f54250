"""What a feature is, said slowly: every event is looked at for every value. Used only to compare."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from headrace.spec.features import Feature, FeatureView

__all__ = ["OracleEvent", "feature_value", "row_values"]


@dataclass
class OracleEvent:
    key: int | str
    t: int
    id: int
    values: dict[str, int | None] = field(default_factory=dict)
    """Column -> whole steps, None for null."""


def feature_value(view: FeatureView, feature: Feature, events: Sequence[OracleEvent], q: int) -> float | None:
    """The value at ``q``; ``events`` are those of one key, once each."""
    old, new = q - feature.delay_us - feature.length_us, q - feature.delay_us
    inside = {
        "left": lambda t: old <= t < new,
        "right": lambda t: old < t <= new,
        "both": lambda t: old <= t <= new,
        "neither": lambda t: old < t < new,
    }[view.closed]
    window = [event for event in events if inside(event.t)]
    if feature.kind == "count":
        return float(len(window))
    numbers = [event.values[feature.column] for event in window if event.values[feature.column] is not None]
    if not numbers:
        return feature.empty
    total = Fraction(sum(numbers), view.source.schema[feature.column].scale)
    return float(total if feature.kind == "sum" else total / len(numbers))


def row_values(view: FeatureView, events: Sequence[OracleEvent], q: int) -> list[float | None]:
    """All values of a view, in declared order."""
    return [feature_value(view, feature, events, q) for feature in view.features]
