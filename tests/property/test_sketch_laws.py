"""Sketches over a lifetime follow from the values and their order: one answer of every engine, and near the truth."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace as hr
from feature_store.compute import EventColumns, features_at
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_encoder import RowEncoder
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.sketch_layout import decode_sketches, encode_sketches
from feature_store.sketches import opener
from feature_store.state import sketch_marks
from feature_store.state.state_merge import merge
from feature_store.state.view_state import ViewState
from headrace.errors import DefinitionError, IntegrityError
from tests.oracle import OracleEvent, row_values
from tests.property.view_cases import as_list, columns
from tests.stored_rows import stored_rows

STREAM = hr.EventStream(
    "events", key="key", time="at", id="id", lateness="40us",
    schema={"key": hr.Int64, "amount": hr.Float64(resolution=0.01, nullable=True), "size": hr.Int64},
)  # fmt: skip
LIFETIME = hr.lifetime()
VIEW = hr.FeatureView(
    "view",
    entity="key",
    source=STREAM,
    features=[
        hr.approx_distinct("amount").over(LIFETIME),
        hr.approx_quantile("size", 0.5).over(LIFETIME, delay="5us"),
        hr.approx_quantile("amount", "0.99", where=hr.col("size") > 10).over(LIFETIME),
        hr.approx_top_k("size", 4).over(LIFETIME),
        hr.approx_top_k("amount", 9).over(LIFETIME, delay="5us"),
        hr.mean("amount").over("20us"),
        hr.sum("size").over(LIFETIME),
    ],
)
PLAN = compile_view(VIEW)


def many(seed: int, n: int) -> list[OracleEvent]:
    """Skewed values of few keys; enough of them that every sketch leaves its exact beginning."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.choice([0, 0, 1, 3], n)) + 100
    keys, ids = rng.choice([1, 1, 1, 2], n), rng.permutation(n)
    amounts = np.where(rng.random(n) < 0.1, NULL, rng.integers(0, 1500, n))
    sizes = np.minimum(rng.zipf(1.3, n), 100_000)
    rows = zip(keys.tolist(), times.tolist(), ids.tolist(), amounts.tolist(), sizes.tolist(), strict=True)
    return [
        OracleEvent(key, t, number, {"amount": None if amount == NULL else amount, "size": size})
        for key, t, number, amount, size in rows
    ]


def batched(seed: int, events: list[OracleEvent]) -> Iterator[list[OracleEvent]]:
    """In an order of arrival up to 30 us away from that of time, some delivered twice."""
    rng = np.random.default_rng(seed)
    order = np.argsort([event.t + int(rng.choice([0, 0, 9, 30])) for event in events], kind="stable")
    arrived = [events[place] for place in order for _ in range(1 + (rng.random() < 0.05))]
    while arrived:
        size = int(rng.integers(1, 300))
        yield arrived[:size]
        arrived = arrived[size:]


def table(plan: ViewPlan, events: list[OracleEvent], **arrivals: np.ndarray) -> EventColumns:
    keys, times, ids, inputs = columns(plan, events)
    return EventColumns(keys=keys, times_us=times, ids=ids, inputs=inputs, **arrivals)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), entry=st.sampled_from(PLAN.sketches), seed=st.integers(0, 2**32 - 1))
def test_where_a_sketch_is_put_down_leaves_no_trace(data: st.DataObject, entry: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = data.draw(st.sampled_from([1, 63, 64, 65, 500, 3000]))
    values = np.where(rng.random(n) < 0.02, NULL, rng.integers(-9, data.draw(st.sampled_from([9, 2**40])), n))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=30)))
    whole = opener(PLAN, entry)(b"")
    whole.add(values)

    saved = b""
    for start, end in zip([0, *cuts], [*cuts, n], strict=True):
        sketch = opener(PLAN, entry)(saved)
        sketch.read()  # being asked leaves no trace either
        sketch.add(values[start:end])
        saved = sketch.save()

    assert repr(opener(PLAN, entry)(saved).read()) == repr(whole.read())
    assert saved == whole.save()


@pytest.mark.parametrize(("seed", "marks", "window"), [(1, 256, "2000us"), (2, 1, "20us"), (3, 7, "300us")])
def test_stream_rows_files_and_reads_say_the_same_of_thousands_of_values(
    seed: int, marks: int, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through late events, duplicates, sweeps, restarts from whole snapshots and from pieces; with marks everywhere."""
    monkeypatch.setattr(sketch_marks, "MANY", marks)
    view = replace(VIEW, features=(*VIEW.features, *hr.last("size").over(window)))
    plan = compile_view(view)
    events = many(seed, 3000)
    rng = np.random.default_rng(seed)
    state, encoder, decoder = ViewState(plan), RowEncoder(plan, "p"), RowDecoder(plan)
    redis, log, pieces, newest = {}, {}, [], 0
    for batch in batched(seed, events):
        state.apply(*columns(plan, batch))
        newest = max(newest, *(event.t for event in batch))
        state.advance(newest)
        drained = state.drain(log=True)
        redis.update(stored_rows(encoder, drained.latest, watermark_us=state.watermark_us))
        assert drained.log is not None
        instants = zip(drained.log.keys.tolist(), drained.log.valid_from_us.tolist(), strict=True)
        log.update(zip(instants, drained.log.values, strict=True))
        pieces.append(state.take_changes())
        if rng.random() < 0.3:
            whole = merge(pieces)
            assert all(whole[name].tobytes() == array.tobytes() for name, array in state.snapshot().items())
            pieces = [whole]
            state = ViewState.restore(plan, whole)
    corrected = table(plan, events)

    said = list(log)
    keys, at_us = np.array([key for key, _ in said]), np.array([q for _, q in said])
    assert np.array(list(log.values())).tobytes() == features_at(plan, corrected, keys, at_us).tobytes()
    for key in (1, 2):
        for q in (newest - 40, newest, newest + 3):
            (read,) = decoder.decode([redis[key]], [q], [None])
            (expected,) = features_at(plan, corrected, np.array([key]), np.array([q]))
            mine = [event for event in events if event.key == key]
            assert as_list(expected) == row_values(view, mine, q)
            cells = [c for v in read.values.values() for c in (v if isinstance(v, list) else [v])]
            assert np.array(cells, dtype=np.float64).tobytes() == expected.tobytes()


class Counting:
    """A sketch that counts what it is fed."""

    fed = 0

    def __init__(self, saved: bytes) -> None:
        self._sketch = opener(PLAN, PLAN.sketches[0])(saved)
        self.read, self.save = self._sketch.read, self._sketch.save

    def add(self, values: np.ndarray) -> None:
        Counting.fed += len(values)
        self._sketch.add(values)


def test_a_mark_spares_feeding_what_it_has_seen_and_nothing_else() -> None:
    marks, values = sketch_marks.SketchMarks(), np.arange(2000)
    other = np.delete(values, 5)

    def fed(given: np.ndarray, settled: int, kept: np.ndarray = values[:0]) -> int:
        """How many values it took to come to the sketch of all of them."""
        before, whole = Counting(b""), Counting(b"")
        before.add(kept)
        whole.add(np.concatenate([kept, given]))
        Counting.fed = 0
        sketch, done = marks.open(7, before.save(), given, settled, Counting)
        sketch.add(given[done:])
        assert sketch.save() == whole.save()
        return Counting.fed

    assert fed(values[:1000], 900) == 1000
    assert fed(values[:1100], 950) == 200, "not worth a new mark"
    assert fed(values[:800], 700) == 800, "fewer than the mark has seen"
    assert fed(other[:1400], 1300) == 1400, "one was taken out"
    assert fed(other, 1300) == 699
    assert marks.nbytes > 8 * 1300

    marks.fold(7, other[:100])
    assert fed(other[100:], 1200, kept=other[:100]) == 699, "the first ones have left"
    marks.fold(7, values[:3])
    assert marks.nbytes == 0, "others left than it has seen"


def test_a_training_set_sees_what_had_arrived_and_its_own_event() -> None:
    events = many(3, 800)
    rng = np.random.default_rng(3)
    arrival = np.array([event.t for event in events]) + rng.choice([0, 0, 2, 60], len(events))
    asked = rng.choice(len(events), 60, replace=False)
    keys, at_us, own = (np.array([getattr(events[i], name) for i in asked]) for name in ("key", "t", "id"))

    served = features_at(PLAN, table(PLAN, events, arrival_us=arrival), keys, at_us, own_ids=own, mode="as_served")

    for row, i in enumerate(asked.tolist()):
        seen = [e for e, came in zip(events, arrival.tolist(), strict=True) if came <= at_us[row] or e is events[i]]
        expected = row_values(VIEW, [event for event in seen if event.key == keys[row]], int(at_us[row]))
        assert as_list(served[row]) == expected


@pytest.mark.parametrize("order", ["as drawn", "rising", "falling"])
def test_estimates_are_as_near_as_they_promise(order: str) -> None:
    """100,000 different values, and a skewed choice of them."""
    rng = np.random.default_rng(9)
    n = 100_000
    values = {"as drawn": rng.permutation(n), "rising": np.arange(n), "falling": np.arange(n)[::-1]}[order]
    entries = {entry.feature.kind: entry for entry in reversed(PLAN.sketches)}

    sketch = opener(PLAN, entries["approx_distinct"])(b"")
    sketch.add(values)
    assert abs(sketch.read()[0] / n - 1) < 4 * 0.013, "four standard errors"

    for rank, off in (("0.01", 0.001), ("0.1", 0.01), ("0.5", 0.03), ("0.9", 0.01), ("0.99", 0.001)):
        plan = compile_view(hr.FeatureView(
            "view", entity="key", source=STREAM, features=hr.approx_quantile("size", rank).over(LIFETIME)
        ))  # fmt: skip
        sketch = opener(plan, plan.sketches[0])(b"")
        sketch.add(values)
        assert abs(sketch.read()[0] / n - float(rank)) < off

    skewed = np.minimum(rng.zipf(1.2, n), 2**40)
    skewed = {"as drawn": skewed, "rising": np.sort(skewed), "falling": np.sort(skewed)[::-1]}[order]
    counts = Counter(skewed.tolist())
    sketch = opener(PLAN, entries["approx_top_k"])(b"")
    sketch.add(skewed)
    found, (fourth,) = sketch.read(), [count for _, count in counts.most_common(4)[3:]]
    assert len(counts) > 5_000
    assert all(counts[int(value)] >= fourth - n * 3.5 / 512 for value in found)


def test_sketches_are_for_lifetimes_alone() -> None:
    for made, exact in (
        (hr.approx_distinct("amount"), "distinct"), (hr.approx_top_k("size", 2), "top_k"),
        (hr.approx_quantile("size", 0.5), "quantile"),
    ):  # fmt: skip
        for window in ("7d", hr.tumbling("1d")):
            with pytest.raises(DefinitionError) as refused:
                made.over(window)
            assert f"take {exact}," in refused.value.hint


def test_a_row_with_a_damaged_sketch_is_refused() -> None:
    state, decoder = ViewState(PLAN), RowDecoder(PLAN)
    state.apply(*columns(PLAN, many(5, 400)))
    state.advance(10_000)
    latest = state.drain(log=False).latest
    row = stored_rows(RowEncoder(PLAN, "p"), latest, watermark_us=state.watermark_us)[1]

    assert decoder.decode([row], [10_000], [None])[0].status == "PRESENT"
    for damaged in (row[:-8], row + bytes(8), row[:-40] + b"\xaa" + row[-39:]):
        with pytest.raises(IntegrityError, match=r"'view'.*damaged"):
            decoder.decode([damaged], [10_000], [None])


@given(data=st.data(), saved=st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_sketches_behind_a_row_come_back_or_are_refused(data: st.DataObject, saved: list[bytes]) -> None:
    row = encode_sketches(tuple(saved))
    flipped = bytearray(row)
    flipped[data.draw(st.integers(0, len(row) - 1))] ^= data.draw(st.integers(1, 255))

    assert len(row) % 8 == 0
    assert decode_sketches(row, len(saved)) == tuple(saved)
    for damaged in (bytes(flipped), row[: data.draw(st.integers(0, len(row) - 1))], row + bytes(8)):
        with pytest.raises(IntegrityError):
            decode_sketches(damaged, len(saved))
    with pytest.raises(IntegrityError):
        decode_sketches(row, len(saved) + 1)
