"""Views and streams meant to break window code: everything happens within a few microseconds of an edge."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from feature_store.plan import NULL, ViewPlan
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, String, count, mean, sum
from tests.oracle import OracleEvent

__all__ = ["Batch", "as_list", "batches", "columns", "views"]


@dataclass
class Batch:
    """One micro-batch: events, labels as (id, value), and how far the watermark moves after them."""

    events: list[OracleEvent]
    labels: list[tuple[int, int]]
    advance_us: int


@st.composite
def views(draw: st.DrawFn) -> FeatureView:
    """Any of the four closed values, several lengths and delays, with and without labels, both key types."""
    text = draw(st.booleans())
    stream = EventStream(
        "events",
        key="key",
        time="at",
        id="id",
        schema={"key": String if text else Int64, "amount": Float64(resolution=0.01, nullable=True), "size": Int64},
        lateness=draw(st.sampled_from(["0us", "7us", "40us"])),
    )
    labels = LabelStream("labels", of=stream, value="bad", delay="9us")
    labelled = draw(st.booleans())
    windows = draw(st.lists(st.sampled_from(["1us", "5us", "6us", "20us"]), min_size=1, max_size=3, unique=True))
    delay = draw(st.sampled_from(["0us", "1us", "9us"]))
    features = [
        count().over(*windows, delay=delay),
        mean("amount").over(*windows),
        sum("size").over(windows[0], delay=delay),
    ]
    if labelled:
        features.append(mean("bad").over(*windows, delay=delay, empty=0.0))
    return FeatureView(
        "view",
        entity="key",
        source=stream.with_label(labels) if labelled else stream,
        closed=draw(st.sampled_from(["left", "right", "both", "neither"])),
        features=draw(st.permutations(features)),
    )


@st.composite
def batches(draw: st.DrawFn, *, text_keys: bool, late_us: int = 60) -> list[Batch]:
    """Micro-batches in arrival order: ties, duplicates, disorder up to ``late_us``, skewed keys, quiet spells."""
    now, steps = 0, []
    ids = st.integers(0, 25)
    for _ in range(draw(st.integers(1, 6))):
        now += draw(st.sampled_from([0, 0, 1, 2, 5, 30, 150]))
        events = []
        for _ in range(draw(st.integers(0, 6))):
            key = draw(st.sampled_from([0, 0, 0, 0, 1, 2, -7]))
            behind = draw(st.sampled_from([0, 0, 0, 1, 5, 6, 7, late_us]))
            values = {"amount": draw(st.sampled_from([None, 1, 3, -5, 1000])), "size": draw(st.integers(-3, 9))}
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


def columns(plan: ViewPlan, events: list[OracleEvent]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Keys, times, ids and inputs as ViewState.apply takes them."""
    keys = np.array([event.key for event in events], dtype=object if plan.has_text_keys else np.int64)
    inputs = [[event.values[entry.column] for event in events] for entry in plan.inputs]
    return (
        keys,
        np.array([event.t for event in events], dtype=np.int64),
        np.array([event.id for event in events], dtype=np.int64),
        np.array([[NULL if v is None else v for v in row] for row in inputs], dtype=np.int64).reshape(
            len(plan.inputs), len(events)
        ),
    )


def as_list(values: np.ndarray) -> list[float | None]:
    """A row as the oracle writes it."""
    return [None if np.isnan(value) else float(value) for value in values]
