"""A stream whose producers write no id, killed on the way: events count once each, by (time, partition, offset)."""

import json
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_store.compute import compute_file
from feature_store.offline.event_log import read_events
from feature_store.online.lookup import LookupRequest, OnlineReader, OwnEvent
from headrace import FeatureView, Project, load_project
from headrace.cli.main import main
from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.kafka_clients import end_offsets, ensure_topics, read_topic
from headrace.kafka_sender import Sender
from streams.logs.dead_letters import read_dead_letters
from streams.progress import Progress
from tests.eventually import eventually
from tests.integration.test_stream_kill import applied, run_to_the_end, worker_of
from tests.oracle import OracleEvent, row_values
from tests.stream_world import MINUTE_US, PARTITIONS, START_US

DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, String, count, first, last, last_k, sum
clicks = EventStream(
    "NAME", key="card", time="at", id=None, lateness="1h",
    schema={"card": String, "page": Int64, "s": Float64(resolution=0.5, nullable=True)},
)
features = [count().over("1h", "6h"), first("s").over("2h"), last("s").over("6h"), last_k("s", 5).over("6h")]
card_use = FeatureView("card_use", entity="card", source=clicks, closed="right", features=features)
page_use = FeatureView("page_use", entity="page", source=clicks, features=features)
"""
LATER = 'page_sum = FeatureView("page_sum", entity="page", source=clicks, features=[sum("s").over("6h"), *features])'


@dataclass
class Clicks:
    """What was sent, in the order of arrival."""

    sent: list[tuple[int, bytes]] = field(default_factory=list)
    """(partition, message)."""
    events: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    """(partition, offset, fields) of what is an event."""
    arrivals_us: list[int] = field(default_factory=list)

    def by_key(self, entity: str) -> dict[Any, list[OracleEvent]]:
        """For the oracle. Ids are ranks of places, so that it knows nothing of how we write a place as a number."""
        ranks = {place[:2]: rank for rank, place in enumerate(sorted(self.events, key=lambda event: event[:2]))}
        found = defaultdict(list)
        for partition, offset, row in self.events:
            steps = {"s": None if row["s"] is None else round(row["s"] * 2)}
            found[row[entity]].append(OracleEvent(row[entity], row["at"], ranks[partition, offset], steps))
        return found


def make_clicks(number: int, seed: int) -> Clicks:
    """Half a day, whole minutes, in any partition; some are sent twice, which is two events; garbage takes offsets."""
    rng = np.random.default_rng(seed)
    made = Clicks()
    ends: Counter[int] = Counter()
    for at_us in np.sort(START_US + rng.integers(0, 12 * 60, number) * MINUTE_US).tolist():
        row = {
            "card": f"card {int(rng.integers(9))}",
            "page": int(rng.integers(6)),
            "s": None if rng.random() < 0.1 else int(rng.integers(99)) / 2,
            "at": at_us,
        }
        for _ in range(2 if rng.random() < 0.1 else 1):
            partition = int(rng.integers(PARTITIONS))
            if is_bad := rng.random() < 0.05:
                row = {**row, "_id": 7}
            made.sent.append((partition, json.dumps(row).encode()))
            made.arrivals_us.append(at_us + MINUTE_US)
            if not is_bad:
                made.events.append((partition, ends[partition], row))
            ends[partition] += 1
            row.pop("_id", None)
    return made


def make_project(folder: Path, stream: str, *, more: str = "") -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clicks.py").write_text(DEFINITIONS.replace("NAME", stream) + more, encoding="utf-8")
    return load_project(folder)


def send(settings: Settings, topic: str, clicks: Clicks) -> dict[tuple[str, int], int]:
    ensure_topics(settings, [topic])
    sender = Sender(settings)
    for (partition, message), arrival_us in zip(clicks.sent, clicks.arrivals_us, strict=True):
        sender.send(topic, message, partition=partition, timestamp_ms=arrival_us // 1_000)
    sender.flush()
    return end_offsets(settings, [topic])


def cells_of(view: FeatureView, row: Mapping[str, Any]) -> list[Any]:
    """Values as the oracle writes them: lists filled up with None."""
    cells = []
    for feature, value in zip(view.features, row.values(), strict=True):
        items = value if isinstance(value, list) else [value]
        cells += [*items, *[None] * (feature.width - len(items))]
    return cells


def check_online(settings: Settings, project: Project, view: FeatureView, clicks: Clicks) -> None:
    """Every key at the watermark, as stored and moved there."""
    progress = Progress(settings.redis.url, project.name)
    at_us = min((report.watermark_us for report in progress.views() if report.view == view.name), default=None)
    progress.close()
    assert at_us is not None, "the view has not begun"
    expected = {key: row_values(view, events, at_us) for key, events in clicks.by_key(view.entity).items()}
    with closing(OnlineReader(settings.redis.url, project)) as reader:
        for instant in (at_us, None):
            asked = [LookupRequest(views=(view,), entities={view.entity: key}, at_us=instant) for key in expected]
            found = [cells_of(view, rows[view.name].values) for rows in reader.read(asked)]
            assert dict(zip(expected, found, strict=True)) == expected
        own = OwnEvent(id=1, time_us=at_us, fields={"card": "card 1", "page": 1, "s": 0.5})
        with pytest.raises(RejectedError, match="have no id"):
            reader.read([msgspec.structs.replace(asked[0], own=own)])


def restart(settings: Settings, project: Project, log: Path, check: Callable[[], None]) -> None:
    """A worker that finds everything applied, until what is to be checked is so."""
    before = log.read_text().count("stream started")

    def is_done() -> bool:
        check()
        return log.read_text().count("stream started") > before

    with worker_of(settings, project, log) as process:
        eventually(is_done, timeout_s=60, what="a worker comes back")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


@pytest.mark.slow
def test_a_worker_killed_on_the_way_counts_every_event_once_in_the_order_of_places(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(stack.home))
    project = make_project(tmp_path / fresh_name("clicks"), fresh_name("clicks").replace("_", "-"))
    stream, log = project.only_stream(), tmp_path / "worker.log"
    clicks = make_clicks(3_000, seed=8)
    ends = send(stack, stream.name, clicks)

    for goal in (5, 40):
        with worker_of(stack, project, log) as process:
            eventually(
                lambda process=process, goal=goal: process.poll() is not None or applied(stack, project) >= goal,
                timeout_s=60,
                what=f"{goal} messages applied",
            )
            assert process.poll() is None, log.read_text()
            process.kill()
    run_to_the_end(stack, project, ends, log)

    logged = read_events(stack.offline_dir, project, stream)
    assert sorted(zip(*(logged[name].to_pylist() for name in ("_partition", "_offset", "_id")), strict=True)) == sorted(
        (partition, offset, partition * 2**48 + offset) for partition, offset, _ in clicks.events
    )
    assert {letter.reason for letter in read_dead_letters(stack, stream.name)} == {"unknown_field"}
    for view in project.views:
        check_online(stack, project, view, clicks)
    check_file(project, logged, clicks)
    assert main(["verify", "--online", "--project", str(project.path)]) == 0

    later = make_project(project.path, stream.name, more=LATER)
    restart(stack, later, log, lambda: None)  # which accepts the new view and leaves it closed
    assert main(["backfill", "page_sum", "--project", str(later.path)]) == 0
    restart(stack, later, log, lambda: check_online(stack, later, later.view("page_sum"), clicks))

    assert main(["erase", "--entity", "card", "--key", "card 1", "--project", str(later.path)]) == 0
    left = Clicks(events=[event for event in clicks.events if event[2]["card"] != "card 1"])
    assert read_events(stack.offline_dir, later, stream).num_rows == len(left.events)
    for view in later.views:
        check_online(stack, later, view, left)


def check_file(project: Project, logged: pa.Table, clicks: Clicks) -> None:
    """The event log as a file: every event has the values of its own instant."""
    found = compute_file(project, project.only_stream(), logged.take(pc.sort_indices(logged["page"])))
    for view in project.views:
        by_key = clicks.by_key(view.entity)
        rows = {row["_id"]: row for row in found.select(["_id", *view.full_names]).to_pylist()}
        for partition, offset, fields in clicks.events[::7]:
            row = rows[partition * 2**48 + offset]
            expected = row_values(view, by_key[fields[view.entity]], fields["at"])
            assert cells_of(view, {name: row[name] for name in view.full_names}) == expected


def test_a_file_is_published_in_the_order_of_time_and_then_of_its_rows(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what the stream says of a key that producers partition by is what the file says of it."""
    monkeypatch.setenv("HEADRACE_HOME", str(stack.home))
    project = make_project(tmp_path / fresh_name("file"), fresh_name("file").replace("_", "-"))
    stream, (view, _) = project.only_stream(), project.views
    rng = np.random.default_rng(2)
    table = pa.table(
        {
            "card": [f"card {key}" for key in rng.integers(0, 9, 900)],
            "page": rng.integers(0, 6, 900),
            "s": rng.integers(0, 99, 900) / 2,
            "at": pa.array(START_US + rng.integers(0, 60, 900) * MINUTE_US, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, tmp_path / "e.parquet", row_group_size=70)

    assert main(["publish", "--project", str(project.path), "--events", str(tmp_path / "e.parquet")]) == 0

    sent = [json.loads(message.value()) for message in read_topic(stack, stream.name) if message.value()]
    assert {frozenset(row) for row in sent} == {frozenset(["card", "page", "s", "at"])}
    rows = sorted(table.to_pylist(), key=lambda row: row["at"])
    for card in {row["card"] for row in rows}:
        mine, theirs = ([(row["page"], row["s"]) for row in of if row["card"] == card] for of in (rows, sent))
        assert mine == theirs

    run_to_the_end(stack, project, end_offsets(stack, [stream.name]), tmp_path / "worker.log")
    times_us = table["at"].cast(pa.int64()).to_pylist()
    events = [
        (0, n, {**row, "at": at_us}) for n, (row, at_us) in enumerate(zip(table.to_pylist(), times_us, strict=True))
    ]
    check_online(stack, project, view, Clicks(events=events))
