"""One adversarial stream through every engine, each value against the slow oracle and bit for bit against the others.

seed ──► view, events, arrivals, questions
             ├──► live state, in batches, sometimes restored ──► rows ──► bytes ──► read at each question
             ├──► feature log of the same state, as a step function
             ├──► the table, corrected
             └──► the table, as served (a training set)                  each ──► compared with tests.oracle
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import headrace as hr
from feature_store.compute import EventColumns, features_at
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.online.view_rows import PRESENT
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.row_values import Value
from feature_store.state.view_state import ViewState
from headrace import EventStream, FeatureView, Float64, Int64, String
from tests.oracle import OracleEvent, row_values
from tests.property.view_cases import AGGREGATIONS, columns
from tests.stored_rows import stored_rows

__all__ = ["Report", "compare_engines"]

Cells = list[float | None]
_WINDOWS = (
    "1us",
    "20us",
    "300us",
    hr.sliding("120us", hop="20us"),
    hr.tumbling("50us"),
    hr.tumbling("40us", completed=True),
    hr.session("9us", within="200us"),
    hr.lifetime(),
)
_AMOUNTS = np.array([NULL, 1, 3, 3, -5, 1000, 2**53 - 1, -(2**52)])
_SIZES = np.array([*range(-3, 9), 2**53 - 1, -(2**62), 2**63 - 1])


@dataclass
class Report:
    """What was compared."""

    values: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, engine: str, seed: int, view: FeatureView, q: int, actual: Cells, expected: Cells) -> None:
        self.values += len(expected)
        if actual != expected:
            self.differences.append(f"{engine}, seed {seed}, q {q}: {actual} for {expected} of {view.feature_names}")


def compare_engines(seed: int, report: Report, *, events: int = 120, questions: int = 40) -> None:
    """Generate a stream from ``seed`` and compare every engine's answers; some thousand values."""
    rng = np.random.default_rng(seed)
    view = _view(rng)
    plan = compile_view(view)
    stream = _stream(rng, events)
    arrivals = {id(event): event.t + int(delay) for event, delay in zip(stream, _delays(rng, events), strict=True)}
    for event in list(stream):
        if rng.random() < 0.1:  # delivered again
            again = OracleEvent(event.key, event.t, event.id, dict(event.values))
            arrivals[id(again)] = arrivals[id(event)] + int(rng.choice([0, 1, 90]))
            stream.append(again)
    stream.sort(key=lambda event: arrivals[id(event)])
    redis, log, watermark = _live(rng, plan, stream)
    known = _once(stream, plan)
    keys = sorted({event.key for event in known})
    asked = [(keys[int(rng.integers(len(keys)))], q) for q in _instants(rng, plan, known, questions)]
    arrival_us = np.array([arrivals[id(event)] for event in known])
    all_keys, times, ids, inputs = columns(plan, known)
    table = EventColumns(keys=all_keys, times_us=times, ids=ids, inputs=inputs, arrival_us=arrival_us)
    at = (np.array([key for key, _ in asked]), np.array([q for _, q in asked], np.int64))
    corrected, served = (features_at(plan, table, *at, mode=mode) for mode in ("corrected", "as_served"))
    decoder = RowDecoder(plan)
    reads = decoder.decode([redis.get(key) for key, _ in asked], [q for _, q in asked], [None] * len(asked))
    for row, (key, q) in enumerate(asked):
        mine = [event for event in known if event.key == key]
        expected = row_values(view, mine, q)
        report.add("corrected", seed, view, q, _cells(corrected[row]), expected)
        visible = [event for event in mine if arrivals[id(event)] <= q]
        report.add("as served", seed, view, q, _cells(served[row]), row_values(view, visible, q))
        if q >= watermark - plan.lateness_us and reads[row].status == PRESENT:
            report.add("online", seed, view, q, _flat(view, list(reads[row].values.values())), expected)
        said = [since for since in log.get(key, {}) if since <= q]
        if said and q <= max(watermark, max(event.t for event in mine)):
            report.add("log", seed, view, q, log[key][max(said)], row_values(view, mine, q, now=max(said)))
    same = corrected.view(np.int64) == features_at(plan, table, *at, mode="corrected").view(np.int64)
    assert same.all(), "asked twice, answered twice the same"


def _view(rng: np.random.Generator) -> FeatureView:
    stream = EventStream(
        "events",
        key="key",
        time="at",
        id="id",
        schema={
            "key": Int64,
            "amount": Float64(resolution=0.01, nullable=True),
            "size": Int64,
            "kind": String(nullable=True),
        },
        lateness=str(rng.choice(["0us", "30us", "500us"])),
    )
    delay = str(rng.choice(["0us", "0us", "7us"]))
    features = {}
    for name in rng.permutation(sorted(AGGREGATIONS))[:10]:
        window = _WINDOWS[int(rng.integers(len(_WINDOWS)))]
        if isinstance(window, hr.Window) and window.kind == "lifetime" and AGGREGATIONS[name].kind in _UNBOUNDED:
            window = "300us"
        if name.startswith("approx_"):
            window = hr.lifetime()
        (feature,) = AGGREGATIONS[name].over(window, delay=delay)
        features[feature.name] = feature
    closed: Any = rng.choice(["left", "right", "both", "neither"])
    return FeatureView("view", entity="key", source=stream, closed=str(closed), features=list(features.values()))


_UNBOUNDED = ("distinct", "quantile", "top_k")


def _stream(rng: np.random.Generator, n: int) -> list[OracleEvent]:
    """Bursts, ties in no order of ids, pauses; a few keys have most events."""
    pauses = rng.choice([0, 0, 0, 1, 2, 9, 10, 60], n)
    times = np.cumsum(pauses) + 1_000
    keys = rng.choice(np.array([0, 0, 0, 0, 1, 1, 2, -7, 2**40]), n)
    ids = rng.permutation(n)
    amounts, sizes = rng.choice(_AMOUNTS, n), rng.choice(_SIZES, n)
    kinds = rng.choice(np.array([None, "a", "a", "b"], object), n)
    return [
        OracleEvent(
            int(key), int(t), int(number),
            {"amount": None if amount == NULL else int(amount), "size": int(size), "kind": kind, "bad": None},
        )
        for key, t, number, amount, size, kind in zip(keys, times, ids, amounts, sizes, kinds, strict=True)
    ]  # fmt: skip


def _delays(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([0, 0, 0, 1, 5, 30, 400], n)


def _live(
    rng: np.random.Generator, plan: ViewPlan, stream: list[OracleEvent]
) -> tuple[dict[int, bytes], dict[int, dict[int, Cells]], int]:
    """The stream applied in batches; its online rows, its log, and the watermark at the end."""
    state, encoder = ViewState(plan), RowEncoder(plan, "p")
    redis: dict[int, bytes] = {}
    log: dict[int, dict[int, Cells]] = {}
    done = newest = 0
    while done < len(stream):
        batch = stream[done : done + int(rng.integers(1, 30))]
        done += len(batch)
        floor = state.watermark_us - plan.lateness_us
        late = [event for event in batch if event.t < floor]
        for event in late:
            event.values["late"] = 1
        state.apply(*columns(plan, [event for event in batch if event.t >= floor]))
        newest = max([newest, *(event.t for event in batch)])
        state.advance(newest - int(rng.choice([0, 3])))
        drained = state.drain(log=True)
        assert drained.log is not None
        for row, key in enumerate(drained.log.keys.tolist()):
            log.setdefault(key, {})[int(drained.log.valid_from_us[row])] = _cells(drained.log.values[row])
        redis.update(stored_rows(encoder, drained.latest, version=done, watermark_us=state.watermark_us))
        if rng.random() < 0.3:
            state = ViewState.restore(plan, state.snapshot())
    return redis, log, state.watermark_us


def _once(stream: list[OracleEvent], plan: ViewPlan) -> list[OracleEvent]:
    """What counts: in time for the stream, and the first of each id."""
    seen: set[int] = set()
    return [event for event in stream if "late" not in event.values and not (event.id in seen or seen.add(event.id))]


def _instants(rng: np.random.Generator, plan: ViewPlan, known: list[OracleEvent], n: int) -> Iterator[int]:
    """On and beside the instants at which something changes, most of them late in the stream."""
    for _ in range(n):
        event = known[int(len(known) * float(rng.random()) ** 0.3)]
        edge = plan.edges[int(rng.integers(len(plan.edges)))]
        yield edge.passes(event.t) + int(rng.integers(-1, 2))


def _cells(values: np.ndarray) -> Cells:
    return [None if value != value else value for value in values.tolist()]


def _flat(view: FeatureView, values: list[Value]) -> Cells:
    cells: Cells = []
    for feature, value in zip(view.features, values, strict=True):
        items = value if isinstance(value, list) else [value]
        cells += [None if item is None else float(item) for item in items] + [None] * (feature.width - len(items))
    return cells
