"""Real workers, a real broker and a real Redis die in random order, and both stores end as if nothing had happened.

``HEADRACE_DRILL_SCHEDULES`` says how many schedules run, ``HEADRACE_DRILL_SEED`` the first. In every fourth of them
several processes share the stream, come, leave, and are given up for dead and wake; ``HEADRACE_DRILL_WORKERS`` says how
many there are at most in each of them instead. A failure names the seed that repeats it: the same faults in the same
order; what the machine was doing at that instant is its own.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from feature_store.online.lookup import NOT_FOUND, LookupRequest, OnlineReader
from headrace.config import Settings, load_settings
from headrace.local.stack import EmbeddedStack
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from streams.logs.dead_letters import read_dead_letters
from tests.drills.real_run import RealRun
from tests.drills.schedules import Schedule, draw
from tests.drills.worker_nursery import Nursery
from tests.integration.test_stream_kill import comparable, different
from tests.stream_world import Traffic, feature_log, make_project, make_traffic

_EVENTS = 1_200
_CALM = 2
"""Traffics, each with a run without a fault; schedules take them in turn."""
_SCHEDULES, _FIRST, _WORKERS = (
    int(os.environ.get(f"HEADRACE_DRILL_{name}", usual))
    for name, usual in (("SCHEDULES", "20"), ("SEED", "1"), ("WORKERS", "0"))
)
_SEVERAL, _EVERY = 3, 4
"""Most workers in every fourth schedule."""
_WORKER = {
    "HEADRACE_STREAM_BATCH_ROWS": "60",
    "HEADRACE_STREAM_SNAPSHOT_EVERY_S": "0.2",
    "HEADRACE_STREAM_SESSION_TIMEOUT_S": "1.5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calm:
    """A run without a fault, as it was when it ended: later faults empty the same Redis."""

    project: Project
    rows: dict[tuple[str, Any], tuple[Any, ...]]
    keys: set[bytes]

    @classmethod
    def of(cls, settings: Settings, project: Project, traffic: Traffic) -> "Calm":
        rows = rows_online(settings, project, traffic)
        return cls(project=project, rows=rows, keys=keys_online(settings, project))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """Of its own: they die."""
    own = EmbeddedStack(tmp_path_factory.mktemp("drill"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HEADRACE_DRILL_")]:
            patch.delenv(name)  # they are no settings and would be warned about
        try:
            own.up()
            own.stop_service("temporal")  # nobody asks it anything here
            yield own
        finally:
            own.down()


@pytest.fixture(scope="module")
def nursery(servers: EmbeddedStack) -> Iterator[Nursery]:
    own = Nursery(_WORKER)
    yield own
    own.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")
@pytest.mark.timeout(1800)
def test_whatever_dies_both_stores_end_the_same(
    servers: EmbeddedStack, nursery: Nursery, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, lives, faults = load_settings(servers.home), 0, 0
    calm: dict[int, tuple[Traffic, Calm]] = {}

    def run(schedule: Schedule, traffic: Traffic, name: str) -> tuple[Project, int]:
        project = make_project(tmp_path / f"drill_{name}", f"drill-{name}".replace("_", "-"))
        one = RealRun(
            servers=servers,
            settings=settings,
            project=project,
            traffic=traffic,
            nursery=nursery,
            log=tmp_path / f"{name}.log",
        )
        one.run(schedule)
        return project, one.lives

    for seed in range(_FIRST, _FIRST + _SCHEDULES):
        kind = seed % _CALM
        if kind not in calm:
            traffic = make_traffic(_EVENTS, seed=kind)
            project, _ = run(replace(draw(0), steps=()), traffic, f"calm_{kind}")
            calm[kind] = (traffic, Calm.of(settings, project, traffic))
        traffic, never = calm[kind]
        schedule = draw(seed, most_workers(seed))
        try:
            project, taken = run(schedule, traffic, f"seed_{seed}")
            found = divergences(settings, schedule, never, project, traffic)
        except BaseException as error:
            error.add_note(f"{repeat(seed)}: {schedule}")
            raise
        lives, faults = lives + taken, faults + len(schedule.steps)
        assert not found, f"{repeat(seed)}: {schedule}: {found[:9]}"

    with capsys.disabled():
        print(f" {_SCHEDULES} schedules, {faults} faults, {lives} workers, 0 divergent", end="")
    if _SCHEDULES >= _EVERY:  # of a few, none may kill a worker
        assert lives > _SCHEDULES, "processes died"


def most_workers(seed: int) -> int:
    """How many may share the stream under the schedule of a seed."""
    return _WORKERS or (1 if seed % _EVERY else _SEVERAL)


def repeat(seed: int) -> str:
    """The command that repeats a seed."""
    return f"make drills SCHEDULES=1 SEED={seed} WORKERS={most_workers(seed)}"


def divergences(
    settings: Settings, schedule: Schedule, never: Calm, project: Project, traffic: Traffic
) -> list[object]:
    """What differs from the run without a fault: rows online, the feature log, dead letters."""
    found: list[object] = []
    rows = rows_online(settings, project, traffic)
    for place, row in never.rows.items():
        is_lost = schedule.loses_rows and rows[place][0] == NOT_FOUND and is_empty(row)
        if rows[place] != row and not is_lost:
            found.append(("online", place, row, rows[place]))
    if not schedule.loses_rows and keys_online(settings, project) != never.keys:
        found.append("other keys online")
    sides = never.project, project
    for view in project.views:
        left, right = (comparable(feature_log(settings, each, each.view(view.name))) for each in sides)
        found += [("log", view.name, *rows) for rows in different(left, right, view.entity)]
    streams = [each.streams[0].name for each in sides]
    letters = [
        {(letter.partition, letter.offset, letter.reason) for letter in read_dead_letters(settings, stream)}
        for stream in streams
    ]
    if not schedule.repeats and letters[0] != letters[1]:
        found.append(("dead letters", letters[0] ^ letters[1]))
    return found


def rows_online(settings: Settings, project: Project, traffic: Traffic) -> dict[tuple[str, Any], tuple[Any, ...]]:
    """(view, key) -> status, values, from and until when they hold; of every key that any event names."""
    found = {}
    reader = OnlineReader(settings.redis.url, project)
    for view in project.views:
        keys = keys_of(view, traffic)
        requests = [LookupRequest(views=(view,), entities={view.entity: key}) for key in keys]
        for key, answer in zip(keys, reader.read(requests), strict=True):
            row = answer[view.name]
            values = tuple(row.values[name] for name in view.feature_names)
            found[view.name, key] = (row.status, values, row.event_time_us, row.valid_until_us)
    reader.close()
    return found


def keys_of(view: FeatureView, traffic: Traffic) -> list[Any]:
    return sorted({row[view.entity] for row in traffic.clean.values()})


def is_empty(row: tuple[Any, ...]) -> bool:
    """Whether nothing is in any window: who writes all live rows again leaves it out."""
    return not np.nan_to_num(np.array([0 if value is None else value for value in row[1]], dtype=float)).any()


def keys_online(settings: Settings, project: Project) -> set[bytes]:
    """Keys of rows in Redis, without the project's name."""
    name = project.name.encode()
    with redis.Redis.from_url(settings.redis.url) as client:
        keys: Any = client.scan_iter(match=b"*" + name + b"*", count=10_000)
        return {key.replace(name, b"") for key in keys if not key.startswith(b"headrace:")}
