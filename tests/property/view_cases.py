"""Views and streams meant to break window code: everything happens within a few microseconds of an edge."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

import headrace as hr
from feature_store.inputs import derive, fields_of
from feature_store.plan import NULL, ViewPlan
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, String, Window, col
from tests.oracle import OracleEvent

__all__ = ["AGGREGATIONS", "Batch", "as_list", "batches", "changes", "columns", "views"]

_IS_A = col("kind") == "a"
_LARGE = (col("amount") > 0.02) & ~(col("kind") == "b")
_ODD = (col("size") < 0) | col("amount").is_null()
AGGREGATIONS = {
    "count": hr.count(),
    "count where": hr.count(where=_LARGE),
    "sum": hr.sum("size"),
    "sum where": hr.sum("amount", where=_ODD | _IS_A),
    "mean": hr.mean("amount"),
    "share": hr.share(where=_LARGE),
    "share, never unknown": hr.share(where=col("size") >= 2),
    "var": hr.var("amount"),
    "var of all": hr.var("size", ddof=0),
    "std": hr.std("size"),
    "min": hr.min("amount"),
    "max": hr.max("size"),
    "first": hr.first("amount"),
    "last": hr.last("amount"),
    "last where": hr.last("size", where=_IS_A),
    "last_k": hr.last_k("amount", 3),
    "distinct": hr.distinct("amount"),
    "distinct texts": hr.distinct("kind"),
    "median": hr.quantile("size", 0.5),
    "quantile": hr.quantile("amount", "0.9", where=~_IS_A),
    "top_k": hr.top_k("amount", 2),
    "decayed_sum": hr.decayed_sum("amount", "6us"),
    "decayed_mean": hr.decayed_mean("size", "4us"),
    "since_last": hr.since_last(),
    "since_last where": hr.since_last(where=_IS_A),
    "approx_distinct": hr.approx_distinct("amount"),
    "approx_distinct texts": hr.approx_distinct("kind", where=~_LARGE),
    "approx_quantile": hr.approx_quantile("amount", "0.9"),
    "approx_median": hr.approx_quantile("size", 0.5, where=_IS_A),
    "approx_top_k": hr.approx_top_k("size", 3),
}
_OF_LABELS = (hr.mean("bad"), hr.sum("bad"), hr.last("bad"), hr.std("bad"), hr.approx_distinct("bad"))
_NO_LIFETIME = ("distinct", "distinct texts", "median", "quantile", "top_k")
_SKETCHES = tuple(name for name in AGGREGATIONS if name.startswith("approx_"))
_WINDOWS = (
    "1us",
    "5us",
    "6us",
    "20us",
    hr.sliding("20us", hop="5us"),
    hr.sliding("12us", hop="6us"),
    hr.tumbling("7us"),
    hr.tumbling("10us", completed=True),
    hr.session("5us", within="20us"),
    hr.lifetime(),
)


@dataclass
class Batch:
    """One micro-batch: events, labels as (id, value), and how far the watermark moves after them."""

    events: list[OracleEvent]
    labels: list[tuple[int, int]]
    advance_us: int


@st.composite
def views(draw: st.DrawFn, *, lifetimes: bool = True) -> FeatureView:
    """Some of every aggregation over some of every window; all closed values, delays, labels, both key types."""
    windows = _WINDOWS if lifetimes else _WINDOWS[:-1]
    text = draw(st.booleans())
    stream = EventStream(
        "events",
        key="key",
        time="at",
        id="id",
        schema={
            "key": String if text else Int64,
            "amount": Float64(resolution=0.01, nullable=True),
            "size": Int64,
            "kind": String(nullable=True),
        },
        lateness=draw(st.sampled_from(["0us", "7us", "40us"])),
    )
    labels = LabelStream("labels", of=stream, value="bad", delay="9us")
    labelled = draw(st.booleans())
    delay = draw(st.sampled_from(["0us", "1us", "9us"]))
    features = {}
    for name in draw(st.lists(st.sampled_from(sorted(AGGREGATIONS)), min_size=1, max_size=4, unique=True)):
        drawn = draw(st.lists(st.sampled_from(windows), min_size=1, max_size=3, unique=True))
        if name in _SKETCHES:
            drawn = [hr.lifetime()] if lifetimes else []
        for window in drawn:
            if not (name in _NO_LIFETIME and isinstance(window, Window) and window.kind == "lifetime"):
                (feature,) = AGGREGATIONS[name].over(window, delay=delay)
                features[feature.name] = feature
    if labelled:
        for of in draw(st.lists(st.sampled_from(_OF_LABELS), min_size=1, max_size=2, unique=True)):
            window = hr.lifetime() if of.kind == "approx_distinct" else draw(st.sampled_from(windows))
            if lifetimes or of.kind != "approx_distinct":
                (feature,) = of.over(window, delay=delay, empty=0.0 if of.kind == "mean" else None)
                features.setdefault(feature.name, feature)
    if not features:
        (feature,) = hr.count().over(draw(st.sampled_from(windows)))
        features[feature.name] = feature
    return FeatureView(
        "view",
        entity="key",
        source=stream.with_label(labels) if labelled else stream,
        closed=draw(st.sampled_from(["left", "right", "both", "neither"])),
        features=draw(st.permutations(sorted(features.values(), key=lambda feature: feature.name))),
    )


@st.composite
def batches(draw: st.DrawFn, *, text_keys: bool, late_us: int = 60) -> list[Batch]:
    """Micro-batches in arrival order: ties, duplicates, disorder up to ``late_us``, skewed keys, quiet spells."""
    now, steps = 0, []
    ids = st.integers(0, 25)
    sizes = st.one_of(st.integers(-3, 9), st.integers(-3, 9), st.sampled_from([2**53 - 1, -(2**62), 2**63 - 1]))
    for _ in range(draw(st.integers(1, 6))):
        now += draw(st.sampled_from([0, 0, 1, 2, 5, 30, 150]))
        events = []
        for _ in range(draw(st.integers(0, 6))):
            key = draw(st.sampled_from([0, 0, 0, 0, 1, 2, -7]))
            behind = draw(st.sampled_from([0, 0, 0, 1, 5, 6, 7, late_us]))
            values = {
                "amount": draw(st.sampled_from([None, 1, 3, 3, -5, 1000, 2**53 - 1])),
                "size": draw(sizes),
                "kind": draw(st.sampled_from([None, "a", "a", "b"])),
            }
            events.append(
                OracleEvent(
                    key=f"k{key}" if text_keys else key,
                    t=now + draw(st.integers(0, 6)) - behind,
                    id=draw(ids),
                    values={**values, "bad": None},
                )
            )
        labels = draw(st.lists(st.tuples(ids, st.integers(0, 1)), max_size=3))
        steps.append(Batch(events=events, labels=labels, advance_us=now))
    return steps


def changes(plan: ViewPlan, t: int) -> set[int]:
    """Instants at which an event can change its key's row."""
    return {edge.passes(t) for edge in plan.edges}


def columns(plan: ViewPlan, events: list[OracleEvent]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys, times, ids and inputs as ViewState.apply takes them."""
    keys = np.array([event.key for event in events], dtype=object if plan.has_text_keys else np.int64)
    schema = plan.view.source.schema
    fields = {name: _exact([e.values[name] for e in events], schema[name]) for name in fields_of(plan.inputs)}
    inputs = np.empty((len(plan.inputs), len(events)), dtype=np.int64)
    for i, entry in enumerate(plan.inputs):
        known = _exact([e.values["bad"] for e in events], Int64()) if entry.is_label else None
        inputs[i] = derive(entry, fields, schema) if known is None else known
    return (
        keys,
        np.array([event.t for event in events], dtype=np.int64),
        np.array([event.id for event in events], dtype=np.int64),
        inputs,
    )


def as_list(values: np.ndarray) -> list[float | None]:
    """A row as the oracle writes it."""
    return [None if np.isnan(value) else float(value) for value in values]


def _exact(values: list[int | str | None], kind: object) -> np.ndarray:
    if isinstance(kind, String):
        texts = np.empty(len(values), dtype=object)
        texts[:] = values
        return texts
    return np.array([NULL if value is None else value for value in values], dtype=np.int64)
