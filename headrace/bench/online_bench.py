"""The online store beside Feast's own client: rows written, and rows looked up, on the same Redis in the same run."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from feature_store.event_columns import event_columns
from feature_store.online.lookup import LookupRequest, OnlineReader
from feature_store.online.redis_online import OnlineWriter
from feature_store.plan import compile_view
from feature_store.rows import RowBatch
from feature_store.state.view_state import ViewState
from headrace.bench.cores import describe_machine, pin, split_cores, wait_for_quiet
from headrace.bench.row import BenchRow
from headrace.bench.workload import CUSTOMERS, TERMINALS, make_events, make_project, percentile
from headrace.config import Settings
from headrace.local.stack import EmbeddedStack
from headrace.spec.features import FeatureView
from headrace.spec.project import Project

__all__ = ["run_lookup", "run_write", "store_rows", "with_rows"]

_EVENTS = 1_200_000
_PEER_ROWS = 5_000
T = TypeVar("T")
Say = Callable[[str], None]
Bench = Callable[[Settings, Project, dict[FeatureView, RowBatch], Say], list[BenchRow]]


def run_lookup(say: Say) -> tuple[list[BenchRow], str]:
    """Twelve features of one and of a hundred pairs of customer and terminal, and the machine."""
    return with_rows(_lookup, say)


def run_write(say: Say) -> tuple[list[BenchRow], str]:
    """Rows written with the guard against older ones, and the machine."""
    return with_rows(_write, say)


def with_rows(bench: Bench, say: Say) -> tuple[list[BenchRow], str]:
    """Run ``bench`` on servers of its own and rows of 130 days, in a quiet moment; its rows, and the machine."""
    servers, measured = split_cores()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        stack = EmbeddedStack(Path(folder))
        say("starting servers of its own")
        settings = stack.up()
        try:
            pin([service.pid for service in stack.status().services if service.pid], servers)
            project = make_project("bench")
            say("filling windows")
            rows = _rows()
            say("waiting for quiet cores")
            machine = describe_machine(wait_for_quiet())
            os.sched_setaffinity(0, measured)
            made = bench(settings, project, rows, say)
        finally:
            stack.down()
    return made, machine


def _rows() -> dict[FeatureView, RowBatch]:
    """The newest row of each key after 130 days, its events with it."""
    events, found = make_events(_EVENTS), {}
    for view in (CUSTOMERS, TERMINALS):
        plan = compile_view(view)
        columns, state = event_columns(plan, events), ViewState(plan)
        state.apply(columns.keys, columns.times_us, columns.ids, columns.inputs)
        state.advance(int(columns.times_us[-1]))
        found[view] = state.drain(log=False).latest
    return found


def _lookup(settings: Settings, project: Project, rows: dict[FeatureView, RowBatch], say: Say) -> list[BenchRow]:
    store_rows(settings, project, rows)
    feast = _feast(settings, project)
    reader = OnlineReader(settings.redis.url, project)
    features = [f"{view.name}:{name}" for view in project.views for name in view.feature_names]
    random = np.random.default_rng(0)
    keys = {view: rows[view].keys for view in project.views}
    made = []
    for size, rounds, goal in ((1, 2_000, 0.08), (100, 400, 0.25)):
        say(f"looking up {size}")
        entities = [
            [{view.entity: int(random.choice(keys[view])) for view in project.views} for _ in range(size)]
            for _ in range(rounds)
        ]
        ours = _times(
            [[LookupRequest(views=project.views, entities=each) for each in batch] for batch in entities], reader.read
        )
        note = ""
        if size > 1:
            note = f"as columns; as rows {percentile(ours, 0.5):.3g} ms; "
            columns = [
                {view.entity: np.array([each[view.entity] for each in batch]) for view in project.views}
                for batch in entities
            ]
            ours = _times(columns, lambda of: reader.read_columns(project.views, of))
        peer = _times(
            entities[: rounds // 4],
            lambda batch: feast.get_online_features(
                features=features, entity_rows=batch, full_feature_names=True
            ).to_dict(),
        )
        made.append(
            BenchRow(
                name=f"lookup of {size}",
                value=percentile(ours, 0.5),
                unit="ms, p50",
                goal=goal,
                peer="feast",
                peer_value=percentile(peer, 0.5),
                less_is_better=True,
                note=f"{note}p99 {percentile(ours, 0.99):.3g} ms, Feast {percentile(peer, 0.99):.3g}",
            )
        )
    reader.close()
    return made


def _write(settings: Settings, project: Project, rows: dict[FeatureView, RowBatch], say: Say) -> list[BenchRow]:
    import pandas as pd

    say("writing rows")
    best = 0.0
    count = sum(map(len, rows.values()))
    for attempt in range(4):
        began = time.perf_counter()
        store_rows(settings, project, rows, version=attempt + 1)
        best = max(best, count / (time.perf_counter() - began))
    say("feast")
    feast = _feast(settings, project)
    sample = rows[CUSTOMERS]
    moment = datetime.now(UTC)
    columns = {name: sample.values[:_PEER_ROWS, f] for f, name in enumerate(CUSTOMERS.feature_names)}
    frame = pd.DataFrame({"customer_id": sample.keys[:_PEER_ROWS], **columns})
    for name in CUSTOMERS.feature_names[:3]:
        frame[name] = frame[name].astype("int64")
    frame["event_timestamp"] = frame["created_timestamp"] = moment
    peer = 0.0
    for _ in range(2):
        began = time.perf_counter()
        feast.write_to_online_store(CUSTOMERS.name, frame)
        peer = max(peer, len(frame) / (time.perf_counter() - began))
    return [
        BenchRow(name="write", value=best, unit="rows/s", goal=200_000, peer="feast", peer_value=peer,
                 note="rows carry their events and replace only older ones")
    ]  # fmt: skip


def store_rows(settings: Settings, project: Project, rows: dict[FeatureView, RowBatch], version: int = 1) -> None:
    """Write them online."""
    with OnlineWriter(settings.redis.url, project.name) as writer:
        for view, batch in rows.items():
            newest_us = int(batch.valid_from_us.max())
            writer.write(compile_view(view), batch, version=version, watermark_us=newest_us)


def _feast(settings: Settings, project: Project):  # type: ignore[no-untyped-def] # Feast's store; imported here, as it takes seconds
    from feature_store.definitions.feast_registry import FeastRegistry, open_feast

    own = replace(settings, home=settings.home / "feast")
    FeastRegistry(own, project).apply()
    return open_feast(own, project.name)


def _times(batches: list[T], read: Callable[[T], object]) -> list[float]:
    """Seconds of each call, after a few that do not count."""
    for batch in batches[:20]:
        read(batch)
    seconds = []
    for batch in batches:
        began = time.perf_counter()
        read(batch)
        seconds.append(time.perf_counter() - began)
    return seconds
