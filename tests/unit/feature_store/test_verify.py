"""Predictions served while a stream runs, recomputed afterwards from its event log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_store.offline_tables import LABEL_ARRIVAL, TIMESTAMP, event_schema
from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_layout import StoredRow, encode_row
from feature_store.own_event import OwnEvent
from feature_store.plan import NULL, ViewPlan, compile_view
from feature_store.state.view_state import ViewState
from feature_store.verification.verify import PredictionVerifier
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, Model, RequestFeatures, count, mean
from headrace.contracts.predictions import PredictionRecord

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_522_540_800_000_000
PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "shop": Int64, "eur": Float64(resolution=0.01)},
    lateness="6h",
)  # fmt: skip
FRAUD = LabelStream("pay-fraud", of=PAY, value="fraud", delay="2d")
SPEND = FeatureView(
    "spend", entity="card", source=PAY, closed="right", features=[count().over("1d", "7d"), mean("eur").over("1d")]
)
RISK = FeatureView(
    "risk", entity="shop", source=PAY.with_label(FRAUD), closed="right",
    features=[mean("fraud").over("7d", delay="2d", empty=0.0)],
)  # fmt: skip
CLOCK = RequestFeatures("clock", of=PAY, fn=lambda e: {"night": e["at"] // HOUR % 24 < 6, "half": e["eur"] / 2})
MODEL = Model("judge", features=(SPEND, RISK, CLOCK, "eur"), label=FRAUD)


class Event:
    def __init__(self, number: int, rng: np.random.Generator) -> None:
        self.id, self.at = number, START + number * HOUR + int(rng.integers(0, HOUR))
        self.card, self.shop = int(rng.integers(0, 4)), int(rng.integers(0, 3))
        self.eur, self.fraud = round(float(rng.integers(1, 99_999)) / 100, 2), int(rng.random() < 0.3)
        self.arrival = self.at

    def fields(self) -> dict[str, object]:
        return {"id": self.id, "card": self.card, "shop": self.shop, "eur": self.eur}


class Shop:
    """A stream and a server in one process: states, the rows they would have written, predictions read from them."""

    def __init__(self) -> None:
        self.plans = [compile_view(view) for view in MODEL.views]
        self.states = [ViewState(plan) for plan in self.plans]
        self.decoders = [RowDecoder(plan) for plan in self.plans]
        self.rows: dict[tuple[str, int], bytes] = {}

    def stream(self, events: Sequence[Event], labels: Sequence[Event], watermark: int) -> None:
        for plan, state in zip(self.plans, self.states, strict=True):
            keys = np.array([getattr(event, plan.view.entity) for event in events], np.int64)
            steps = [NULL if i.is_label else [round(e.eur * 100) for e in events] for i in plan.inputs]
            inputs = np.array([np.broadcast_to(np.array(column), len(events)) for column in steps], np.int64)
            times, ids = (np.array([getattr(event, name) for event in events], np.int64) for name in ("at", "id"))
            state.apply(keys, times, ids, inputs.reshape(len(plan.inputs), len(events)))
            ids, values = (np.array([getattr(event, name) for event in labels], np.int64) for name in ("id", "fraud"))
            state.label(ids, values)
            state.advance(watermark)
            self._write(plan, state)

    def predict(self, event: Event) -> PredictionRecord:
        own = OwnEvent(id=event.id, time_us=event.at, fields=event.fields())
        read = {}
        for plan, decoder in zip(self.plans, self.decoders, strict=True):
            stored = self.rows.get((plan.view.name, getattr(event, plan.view.entity)))
            (read[plan.view.name],) = decoder.decode([stored], [event.at], [own])
        values: dict[str, Any] = {"eur": event.eur}
        for view in MODEL.views:
            values |= dict(zip(view.full_names, read[view.name].values.values(), strict=True))
        values |= {f"clock__{name}": value for name, value in CLOCK.fn({**event.fields(), "at": event.at}).items()}
        return PredictionRecord(
            model="judge", prediction_id=f"{event.id}/http", event_id=str(event.id), event_us=event.at,
            unit=str(event.card), entities={"card": str(event.card), "shop": str(event.shop)},
            event={**event.fields(), "at": event.at},
            features={name: None if values[name] is None else float(values[name]) for name in MODEL.feature_names},
            views={name: {"status": row.status, "own_event": row.own_event} for name, row in read.items()},
            served_version="1", score=0.5, flagged=False, scores={}, latency_us={}, fallback="", epoch=1,
            stage="steady", source="http", at_us=event.at,
        )  # fmt: skip

    def _write(self, plan: ViewPlan, state: ViewState) -> None:
        rows = state.drain(log=False).latest
        for i, key in enumerate(rows.keys.tolist()):
            part = slice(rows.state_start[i], rows.state_start[i + 1])
            self.rows[plan.view.name, key] = encode_row(
                StoredRow(
                    definition=int(plan.version, 16), version=0, valid_from_us=int(rows.valid_from_us[i]),
                    valid_until_us=int(rows.valid_until_us[i]), watermark_us=state.watermark_us, values=rows.values[i],
                    times_us=rows.state_t[part], ids=rows.state_id[part], inputs=rows.state_inputs[:, part],
                )
            )  # fmt: skip


def event_log(events: Sequence[Event], now: int) -> pa.Table:
    """As read_events gives it: labels known two days after the event."""
    schema = event_schema(PAY)
    columns: dict[str, list[Any]] = {
        name: [getattr(event, name) for event in events] for name in ("id", "card", "shop", "eur", "at")
    }
    columns |= {"_arrival": [event.arrival for event in events], "_partition": [0] * len(events)}
    columns |= {"_offset": list(range(len(events))), "_late": [False] * len(events)}
    table = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names})
    known = [event.at + 2 * DAY <= now for event in events]
    labels = [event.fraud if there else None for event, there in zip(events, known, strict=True)]
    arrivals = [event.at + 2 * DAY if there else None for event, there in zip(events, known, strict=True)]
    table = table.append_column("fraud", pa.array(labels, pa.int64()))
    return table.append_column(LABEL_ARRIVAL, pa.array(arrivals, TIMESTAMP))


@pytest.fixture(scope="module")
def served() -> tuple[list[Event], list[PredictionRecord]]:
    """Every event is predicted: odd ones before the stream has them, even ones after."""
    rng, shop = np.random.default_rng(3), Shop()
    events = [Event(number, rng) for number in range(240)]
    records, labelled = [], 0
    for event in events:
        due = [other for other in events[labelled:] if other.at + 2 * DAY <= event.at]
        labelled += len(due)
        if event.id % 2:
            shop.stream([], due, event.at - HOUR)
            records.append(shop.predict(event))
            shop.stream([event], [], event.at)
        else:
            shop.stream([event], due, event.at)
            records.append(shop.predict(event))
    return events, records


def _verify(events: Sequence[Event], records: Sequence[PredictionRecord]) -> PredictionVerifier:
    verifier = PredictionVerifier(MODEL, event_log(events, now=START + 99 * DAY))
    verifier.add(records)
    return verifier


def test_what_was_served_is_what_is_recomputed(served: tuple[list[Event], list[PredictionRecord]]) -> None:
    events, records = served

    verifier = _verify(events, records)

    assert {row["own_event"] for record in records for row in record.views.values()} == {"applied", "merged"}
    assert (verifier.comparison.compared, verifier.comparison.mismatches) == (240 * len(MODEL.feature_names), 0)
    assert not +verifier.skipped


def test_batches_of_any_size_find_the_same(served: tuple[list[Event], list[PredictionRecord]]) -> None:
    events, records = served
    wrong = [replace(record, features={**record.features, "spend__count_1d": 99.0}) for record in records]
    whole = _verify(events, wrong)
    verifier = PredictionVerifier(MODEL, event_log(events, now=START + 99 * DAY))
    for start in range(0, len(wrong), 7):
        verifier.add(wrong[start : start + 7])

    assert verifier.comparison.checks == whole.comparison.checks
    assert whole.comparison.mismatches == 240


def test_a_difference_is_counted_shown_and_measured(served: tuple[list[Event], list[PredictionRecord]]) -> None:
    events, records = served
    features = records[50].features
    mean_before = features["spend__mean_eur_1d"]
    assert mean_before is not None
    changed = {"spend__mean_eur_1d": np.nextafter(mean_before, np.inf), "risk__mean_fraud_7d": None, "eur": 1.25}
    record = replace(records[50], features={**features, **changed})

    verifier = _verify(events, [record])

    found = {check.name: check for check in verifier.comparison.checks if check.mismatches}
    assert set(found) == set(changed)
    assert found["risk__mean_fraud_7d"].missing == 1
    assert 0 < found["spend__mean_eur_1d"].largest < 1e-10, "one bit is a difference"
    shown = {example.feature: example for example in verifier.comparison.examples}
    assert (shown["eur"].of, shown["eur"].logged, shown["eur"].recomputed) == ("50/http", 1.25, events[50].eur)


def test_a_prediction_for_an_event_that_never_came_is_recomputed_with_it(
    served: tuple[list[Event], list[PredictionRecord]],
) -> None:
    events, records = served

    for number in (0, 120, 239):
        verifier = _verify([event for event in events if event.id != number], [records[number]])

        assert verifier.comparison.mismatches == 0


def test_data_that_arrived_after_the_read_is_told_apart(served: tuple[list[Event], list[PredictionRecord]]) -> None:
    events, records = served
    late = Event(999, np.random.default_rng(0))
    late.at, late.card, late.arrival = events[100].at - HOUR, events[100].card, events[100].at + HOUR

    verifier = _verify([*events, late], [records[100]])

    assert verifier.comparison.mismatches == 0
    assert sum(check.late for check in verifier.comparison.checks) >= 2


def test_reads_that_promise_nothing_are_left_out_and_counted(
    served: tuple[list[Event], list[PredictionRecord]],
) -> None:
    events, records = served
    stale = replace(records[0], views={**records[0].views, "spend": {"status": "STALE"}}, features={})
    fallback = replace(records[1], views={}, features={})
    other = replace(records[2], model="other")

    verifier = _verify(events, [stale, fallback, other])

    assert dict(+verifier.skipped) == {"fallback": 1, "spend STALE": 1}
    assert verifier.predictions == 1
    assert {check.name for check in verifier.comparison.checks if not check.compared} == set(SPEND.full_names)


def test_an_empty_log_is_no_error(served: tuple[list[Event], list[PredictionRecord]]) -> None:
    _, records = served

    assert _verify([], [records[0]]).predictions == 1
