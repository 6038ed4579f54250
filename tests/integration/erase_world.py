"""The worlds of the tests of erasing: one with a subject, one that never had it, and every place to look for it."""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from feature_store.online.lookup import LookupRequest, OnlineReader
from feature_store.online.redis_online import connect
from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.kafka_clients import end_offsets, ensure_topics
from headrace.kafka_sender import Sender
from headrace.spec.project import Project
from streams.progress import Progress, wait_applied
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.integration.test_stream_kill import comparable, different
from tests.stream_world import MINUTE_US, feature_log, online_values

__all__ = ["DEFINITIONS", "SUBJECT", "World", "assert_others_are_equal", "statuses", "traces", "traffic"]

PARTITIONS = 4
SUBJECT = 481_516_234_215_108
SALES = 602_214_076_000_000 // 2**16 * 2**16
"""First event id; ids of 15 digits whose upper six bytes are the same are found wherever they stand."""
_LITTLE, _BIG = SALES.to_bytes(8, "little")[2:], SALES.to_bytes(8, "big")[:6]
_NUMBERS = (
    (re.compile(rb"(?=(\d{15}))"), int),
    (re.compile(b"(?s)(?=(.." + re.escape(_LITTLE) + b"))"), lambda data: int.from_bytes(data, "little")),
    (re.compile(b"(?s)(?=(" + re.escape(_BIG) + b"..))"), lambda data: int.from_bytes(data, "big")),
)

DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, Model
from headrace import approx_distinct, count, lifetime, mean, sum

sales = EventStream(
    "{stream}", key="card", time="at", id="sale",
    schema={{"card": Int64, "shop": Int64, "eur": Float64(resolution=0.01, nullable=True)}}, lateness="1h",
)
frauds = LabelStream("{stream}-frauds", of=sales, value="fraud", delay="2h")
card_use = FeatureView(
    "card_use", entity="card", source=sales, closed="right",
    features=[count().over("1h", "6h"), mean("eur").over("1h", "6h"), sum("eur").over("3h")],
)
shop_risk = FeatureView(
    "shop_risk", entity="shop", source=sales.with_label(frauds),
    features=[
        count().over("1h", "6h"), sum("eur").over("3h"), approx_distinct("card").over(lifetime()),
        mean("fraud").over("6h", delay="2h", empty=0.0),
    ],
)
fraud = Model("{model}", features=[card_use, shop_risk, "eur"], label=frauds)
"""


@dataclass
class World:
    """A project, its traffic, and the workers that ran."""

    settings: Settings
    project: Project
    newest_us: int = 0

    def publish(self, rows: list[tuple[int, dict[str, Any]]], topic: str) -> None:
        ensure_topics(self.settings, [self.project.streams[0].name, self.project.labels[0].name])
        sender = Sender(self.settings)
        for partition, row in rows:
            arrival_ms = row.pop("_ms", None) or row["at"] // 1000
            self.newest_us = max(self.newest_us, row.get("at", 0))
            sender.send(topic, json.dumps(row).encode(), partition=partition, timestamp_ms=arrival_ms)
        sender.flush()

    def run(self) -> None:
        """A worker that applies all there is, until event time has reached the newest event, and stops."""
        worker = StreamWorker(self.settings, self.project)
        topics = [self.project.streams[0].name, self.project.labels[0].name]
        ends = end_offsets(self.settings, topics)

        def done() -> bool:
            worker.step()
            try:
                wait_applied(self.settings, self.project, offsets=ends, watermark_us=self.newest_us, timeout_s=0)
            except UnavailableError:
                return False
            return True

        eventually(done, timeout_s=120, what="the worker applies everything")
        worker.stop()
        worker.run()

    def erased_counted(self) -> int:
        progress = Progress(self.settings.redis.url, self.project.name)
        try:
            return sum(source.dead_letters.get("erased", 0) for source in progress.sources())
        finally:
            progress.close()


def traffic(first: int, events: int, start_us: int, seed: int) -> tuple[list[Any], list[Any]]:
    """(sales, labels); every seventh sale is the subject's, some in shops of its own; the newest is another's."""
    rng = np.random.default_rng(seed)
    sales, labels = [], []
    for number in range(events):
        at_us = start_us + number * 2 * MINUTE_US + int(rng.integers(MINUTE_US))
        is_subject = number % 7 == 3
        sale = {
            "sale": SALES + first + number,
            "card": SUBJECT if is_subject else int(rng.integers(1, 30)),
            "shop": int(rng.integers(0, 12)) if not is_subject or number % 2 else 777_000 + number % 3,
            "eur": None if number % 11 == 0 else round(float(rng.gamma(2, 30)), 2),
            "at": at_us - (3 * MINUTE_US if is_subject else 0),
        }
        sales.append((number % PARTITIONS, sale))
        if rng.random() < 0.8:
            label = {"sale": sale["sale"], "fraud": int(rng.random() < 0.4), "_ms": at_us // 1000 + 2 * 3_600_000}
            labels.append((number % PARTITIONS, label))
    return sales, labels


def traces(world: World, ids: set[int]) -> list[str]:
    """Places under the home and in Redis where the subject's key or event ids stand; Kafka's own data left out."""
    wanted = ids | {SUBJECT}
    needles = [SUBJECT.to_bytes(8, "little"), SUBJECT.to_bytes(8, "big")]

    def shows(data: bytes) -> bool:
        numbers = (read(match[1]) for pattern, read in _NUMBERS for match in pattern.finditer(data))
        return any(needle in data for needle in needles) or not wanted.isdisjoint(numbers)

    home, found = world.settings.home, []
    for path in home.rglob("*"):
        if not path.is_file() or home / "data" / "kafka" in path.parents:
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # a server's own, gone since it was listed
        found += [str(path)] * shows(data)
        if path.suffix == ".parquet":  # compressed: its values are looked at
            table = pq.read_table(path, partitioning=None)
            values = set(itertools.chain.from_iterable(column.to_pylist() for column in table.columns))
            found += [f"{path} as Parquet"] * (not wanted.isdisjoint(values))
    client: Any = connect(world.settings.redis.url)
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        parts = [key, *(itertools.chain(*client.hgetall(key).items()) if kind == b"hash" else ())]
        parts += client.lrange(key, 0, -1) if kind == b"list" else [client.get(key)] if kind == b"string" else []
        found += [f"redis {key!r}"] * any(map(shows, parts))
    client.close()
    return found


def assert_others_are_equal(world: World, never: World) -> None:
    for view, other in zip(world.project.views, never.project.views, strict=False):
        log, expected = (
            feature_log(world.settings, world.project, view),
            feature_log(never.settings, never.project, other),
        )
        assert not different(comparable(log), comparable(expected), view.entity)
        keys = sorted(set(expected[view.entity].to_pylist()))
        np.testing.assert_array_equal(
            online_values(world.settings, world.project, view, keys, None),
            online_values(never.settings, never.project, other, keys, None),
        )


def statuses(world: World, entity: str, keys: Sequence[int | str]) -> set[str]:
    views = tuple(view for view in world.project.views if view.entity == entity)
    reader = OnlineReader(world.settings.redis.url, world.project)
    requests = [LookupRequest(views=views, entities={entity: key}) for key in keys]
    found = {row.status for answer in reader.read(requests) for row in answer.values()}
    reader.close()
    return found
