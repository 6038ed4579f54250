"""A small shop world for the stream: definitions, traffic with every kind of trouble, and what must come out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.compute import features_at
from feature_store.event_columns import EventColumns
from feature_store.ids import event_ids64
from feature_store.inputs import derive
from feature_store.offline.offline_log import log_folder, read_segment, segments_below
from feature_store.online.lookup import LookupRequest, OnlineReader
from feature_store.plan import NULL, ViewPlan, compile_view, to_steps
from headrace.clock import format_us, parse_us
from headrace.config import Settings
from headrace.kafka_clients import end_offsets, ensure_topics
from headrace.kafka_sender import Sender
from headrace.spec.features import FeatureView
from headrace.spec.project import Project, load_project
from headrace.spec.types import FieldType, Float64, String

__all__ = [
    "CHOICES",
    "REACH",
    "Message",
    "Traffic",
    "expected_values",
    "feature_log",
    "log_values",
    "make_project",
    "make_traffic",
    "online_values",
    "publish",
]

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
START_US = parse_us("2024-03-01T00:00:00Z")
PARTITIONS = 4
_FAR = pa.scalar(2**62, pa.timestamp("us", tz="UTC"))

DEFINITIONS = """
from headrace import ArrowBatches, Avro, EventStream, FeatureView, Float64, Int64, Json, LabelStream, String
from headrace import count, mean, sum

sales = EventStream(
    "{stream}", key="card", time="at", id="sale",
    schema={{"card": String, "shop": Int64, "eur": Float64(resolution=0.01, nullable=True)}},
    lateness="1h", format={form},
)
frauds = LabelStream("{stream}-frauds", of=sales, value="fraud", delay="2h", format={form})
card_use = FeatureView(
    "card_use", entity="card", source=sales, closed="right",
    features=[count().over("1h", "6h"), mean("eur").over("1h", "6h"), sum("eur").over("3h")],
)
shop_risk = FeatureView(
    "shop_risk", entity="shop", source=sales.with_label(frauds),
    features=[count().over("6h", delay="2h"), mean("fraud").over("6h", delay="2h", empty=0.0)],
)
"""

REACH = """
from headrace import approx_distinct, approx_quantile, lifetime

card_reach = FeatureView(
    "card_reach", entity="card", source=sales,
    features=[approx_distinct("shop").over(lifetime()), approx_quantile("eur", 0.5).over(lifetime())],
)
"""
"""A view with sketches, for a project that wants it."""

CHOICES = """
from headrace import col, share

card_choices = FeatureView(
    "card_choices", entity="card", source=sales,
    features=[
        count(col("card") == "card 1").over("6h"), count(col("card") != "card 1").over("6h"),
        share(col("card").is_in(["card 1", "card 2"])).over("6h"), sum("eur", where=col("shop") == 3).over("6h"),
    ],
)
"""
"""A view whose features look at texts and numbers of each event, for a project that wants it."""


def make_project(folder: Path, stream: str, *, form: str = "Json()", more: str = "") -> Project:
    """The world's definitions, and ``more``, as a project called like its folder."""
    folder.mkdir(parents=True)
    (folder / "shop.py").write_text(DEFINITIONS.format(stream=stream, form=form) + more, encoding="utf-8")
    return load_project(folder)


@dataclass(frozen=True)
class Message:
    """One message as a producer sends it."""

    partition: int
    value: bytes
    arrival_us: int
    reason: str = ""
    """Why it must be refused; empty when it must not."""
    key: str | None = None


@dataclass
class Traffic:
    """Messages in arrival order, and the events and labels that must count."""

    events: list[Message] = field(default_factory=list)
    labels: list[Message] = field(default_factory=list)
    clean: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Event id -> fields, for every event that is in time."""
    outcomes: dict[int, int] = field(default_factory=dict)
    """Event id -> label."""

    def columns(self, plan: ViewPlan) -> EventColumns:
        """The events that count, for the engine of files."""
        rows, schema = list(self.clean.values()), plan.view.events.schema
        fields = {name: _exact([row[name] for row in rows], kind) for name, kind in schema.items() if name != "sale"}
        inputs = np.full((len(plan.inputs), len(rows)), NULL, dtype=np.int64)
        for i, entry in enumerate(plan.inputs):
            if entry.is_label:
                inputs[i] = [self.outcomes.get(row["sale"], NULL) for row in rows]
            else:
                inputs[i] = derive(entry, fields, schema)
        entity = plan.view.entity
        return EventColumns(
            keys=np.array([row[entity] for row in rows], dtype=object if plan.has_text_keys else np.int64),
            times_us=np.array([row["us"] for row in rows], dtype=np.int64),
            ids=event_ids64(np.array([row["sale"] for row in rows], dtype=np.int64)),
            inputs=inputs,
        )


def make_traffic(events: int, seed: int) -> Traffic:
    """A day and a half of sales: disorder within the hour, some later, some twice, garbage in between; labels too.

    Producers choose partitions at random, so one card is found in all of them.
    """
    rng = np.random.default_rng(seed)
    traffic = Traffic()
    sends: list[tuple[int, int, dict[str, Any]]] = []
    times_us = START_US + np.sort(rng.integers(0, 36 * HOUR_US, events))
    times_us[::17] = times_us[::17] // MINUTE_US * MINUTE_US
    for sale, at_us in enumerate(times_us.tolist()):
        row = {
            "sale": sale,
            "us": at_us,
            "card": f"card {int(rng.zipf(1.5)) % 60}",
            "shop": int(rng.integers(0, 40)) - 5,
            "eur": None if sale % 13 == 0 else round(float(rng.gamma(2, 30)), 2),
        }
        delay_us = int(rng.choice([0, 0, 0, 2, 20, 50, 200]) * MINUTE_US)
        sends.append((at_us + delay_us, int(rng.integers(PARTITIONS)), row))
        if rng.random() < 0.05:
            again_us = at_us + delay_us + int(rng.integers(0, 40)) * MINUTE_US
            sends.append((again_us, int(rng.integers(PARTITIONS)), row))
        if rng.random() < 0.7:
            _add_labels(traffic, rng, sale, at_us)
    sends.sort(key=lambda send: send[:2])
    newest_us = [0] * PARTITIONS
    for arrival_us, partition, row in sends:
        late = row["us"] < newest_us[partition] - HOUR_US
        newest_us[partition] = max(newest_us[partition], row["us"])
        if not late:
            traffic.clean.setdefault(row["sale"], row)
        value = json.dumps(_as_sent(row, rng)).encode()
        key = row["card"] if rng.random() < 0.5 else None
        traffic.events.append(Message(partition, value, arrival_us, "late" if late else "", key))
        if rng.random() < 0.03:
            traffic.events.append(_garbage(rng, arrival_us, row))
    traffic.labels.sort(key=lambda message: message.arrival_us)
    return traffic


def publish(settings: Settings, project: Project, traffic: Traffic) -> dict[tuple[str, int], int]:
    """Put the traffic into its topics; gives the ends of their partitions."""
    topics = [project.streams[0].name, project.labels[0].name]
    ensure_topics(settings, topics)
    sender = Sender(settings)
    for topic, messages in zip(topics, (traffic.events, traffic.labels), strict=True):
        for message in messages:
            sender.send(
                topic,
                message.value,
                key=message.key,
                partition=message.partition,
                timestamp_ms=message.arrival_us // 1000,
            )
    sender.flush()
    return end_offsets(settings, topics)


def feature_log(settings: Settings, project: Project, view: FeatureView) -> pa.Table:
    """Rows of the offline feature log that count, by key and time: of equal ones the newest."""
    folder = log_folder(settings.offline_dir, project.name, "features", view.name)
    table = pa.concat_tables([read_segment(segment.path) for segment in segments_below(folder)])
    order = [(view.entity, "ascending"), ("event_timestamp", "ascending"), ("created_timestamp", "ascending")]
    table = table.sort_by(order)
    codes, times = _codes(table[view.entity]), _micros(table["event_timestamp"])
    last = np.append((codes[1:] != codes[:-1]) | (times[1:] != times[:-1]), True)
    return table.filter(pa.array(last))


def log_values(
    log: pa.Table, view: FeatureView, keys: Sequence[object], at_us: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (n, F) of the log as of instants, and which of them have a row that holds then."""
    names, codes = np.unique(
        np.asarray(log[view.entity].combine_chunks().to_numpy(zero_copy_only=False)), return_inverse=True
    )
    wanted = np.asarray(keys, dtype=names.dtype)
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    times, until = _micros(log["event_timestamp"]), _micros(log["valid_until"].fill_null(_FAR))
    # One number orders by key, then time: 43 bits are 100 days and more.
    first_us = min(int(times.min()), int(at_us.min()))
    assert max(int(times.max()), int(at_us.max())) - first_us < 2**43
    rows = np.searchsorted((codes << 43) + times - first_us, (place << 43) + at_us - first_us, side="right") - 1
    found = (names[place] == wanted) & (codes[rows] == place) & (rows >= 0) & (until[rows] > at_us)
    columns = [log[name].cast(pa.float64()).to_numpy()[rows] for name in view.feature_names]
    return np.stack(columns, axis=1), found


def online_values(
    settings: Settings, project: Project, view: FeatureView, keys: Sequence[Any], at_us: int | NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """Values (n, F) of Redis, as stored or at instants; NaN where null or no row."""
    reader = OnlineReader(settings.redis.url, project)
    instants = [None] * len(keys) if at_us is None else np.broadcast_to(at_us, len(keys)).tolist()
    requests = [
        LookupRequest(views=(view,), entities={view.entity: key}, at_us=instant)
        for key, instant in zip(keys, instants, strict=True)
    ]
    rows = [answer[view.name] for answer in reader.read(requests)]
    reader.close()
    return np.array(
        [[np.nan if row.values.get(name) is None else row.values[name] for name in view.feature_names] for row in rows],
        dtype=np.float64,
    )


def expected_values(
    traffic: Traffic, view: FeatureView, keys: Sequence[object], at_us: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Values (n, F) of the file engine on the events that count."""
    plan = compile_view(view)
    asked = np.array(keys, dtype=object if plan.has_text_keys else np.int64)
    return features_at(plan, traffic.columns(plan), asked, at_us, mode="corrected")


def _exact(values: list[Any], kind: FieldType) -> NDArray[Any]:
    """As inputs take them: whole steps, or texts."""
    if isinstance(kind, Float64):
        return to_steps(np.array([np.nan if value is None else value for value in values]), kind.scale)
    return np.array(values, dtype=object if isinstance(kind, String) else np.int64)


def _as_sent(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """The event in one of the ways a producer may write it."""
    sent = {name: row[name] for name in ("sale", "card", "shop", "eur")}
    sent["at"] = row["us"] if rng.random() < 0.3 else format_us(row["us"])
    if sent["eur"] is None and rng.random() < 0.5:
        del sent["eur"]
    return dict(sorted(sent.items())) if rng.random() < 0.3 else sent


def _add_labels(traffic: Traffic, rng: np.random.Generator, sale: int, at_us: int) -> None:
    """One outcome, now and then two, of which the last counts; early or late within what the stream forgives."""
    shift = int(rng.choice([0, 0, 0, 10, 25, -100, -119]))
    for again in range(2 if rng.random() < 0.1 else 1):
        outcome = int(rng.random() < 0.3)
        value = json.dumps({"sale": sale, "fraud": outcome}).encode()
        arrival_us = at_us + 2 * HOUR_US + (shift + again) * MINUTE_US
        traffic.labels.append(Message(sale % PARTITIONS, value, arrival_us))
        traffic.outcomes[sale] = outcome
    if rng.random() < 0.01:
        traffic.labels.append(Message(sale % PARTITIONS, b'{"sale": 1, "fraud": 2}', at_us, "bad_label"))


def _garbage(rng: np.random.Generator, arrival_us: int, row: dict[str, Any]) -> Message:
    good = {name: row[name] for name in ("sale", "card", "shop", "eur")} | {"at": row["us"]}

    def changed(**fields: object) -> bytes:
        return json.dumps({**good, **fields}).encode()

    kinds = list(_kinds(good, changed, arrival_us))
    value, reason = kinds[int(rng.integers(len(kinds)))]
    return Message(int(rng.integers(PARTITIONS)), value, arrival_us, reason)


def _kinds(good: dict[str, Any], changed: Any, arrival_us: int) -> Iterator[tuple[bytes, str]]:
    yield b"", "malformed_json"
    yield b"\x00\xff\xfe garbage", "malformed_json"
    yield changed()[:-2], "malformed_json"
    yield b"[" * 20_000, "too_large"
    yield b'"a text"', "not_an_object"
    yield json.dumps({name: good[name] for name in ("sale", "card", "at")}).encode(), "missing_field"
    yield changed(country="NL"), "unknown_field"
    yield changed(shop="7"), "wrong_type"
    yield changed(shop=7.5), "wrong_type"
    yield changed(card=None), "wrong_type"
    yield changed(eur=float("nan")), "not_finite"
    yield changed(eur=1e300), "out_of_range"
    yield changed(shop=2**70), "out_of_range"
    yield changed(card="c" * 300), "too_large"
    yield changed(card="c" * 70_000), "too_large"
    yield changed(at="yesterday"), "bad_time"
    yield changed(at="2024-03-01T00:00:00"), "no_time_zone"
    yield changed(at=-5), "before_earliest"
    yield changed(at=arrival_us // 1_000_000), "before_earliest"
    yield changed(at=arrival_us + 2 * HOUR_US), "future"
    yield changed(at="9999-12-31T23:59:59Z"), "future"


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.unique(np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False)), return_inverse=True)[1]


def _micros(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()).to_numpy())
