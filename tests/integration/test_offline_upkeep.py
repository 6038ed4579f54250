"""Compaction beside a live stream that is killed and comes back: both logs hold what they hold without it."""

import itertools
import json
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_store.offline.event_log import read_events
from feature_store.offline.offline_log import log_folder, segments_below
from headrace.cli.main import main
from headrace.config import Settings, StreamSettings
from headrace.errors import UnavailableError
from headrace.spec.project import Project
from streams.progress import wait_applied
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.stream_world import (
    PARTITIONS,
    expected_values,
    feature_log,
    log_values,
    make_project,
    make_traffic,
    publish,
)


def files_of(settings: Settings, project: Project) -> int:
    logs = [("events", project.streams[0].name), *(("features", view.name) for view in project.views)]
    folders = [log_folder(settings.offline_dir, project.name, kind, name) for kind, name in logs]  # type: ignore[arg-type]  # literals
    return sum(len(segments_below(folder)) for folder in folders)


@pytest.mark.slow
def test_a_stream_compacted_while_it_runs_falls_and_comes_back_loses_nothing(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(stack.home))
    small = replace(stack, stream=StreamSettings(batch_rows=150, snapshot_every_s=0.02, flush_rows=400))
    name = uuid.uuid4().hex[:8]
    project = make_project(tmp_path / f"upkeep_{name}", f"upkeep-{name}")
    traffic = make_traffic(4_000, seed=3)
    ends = publish(stack, project, traffic)
    newest_us = max(row["us"] for row in traffic.clean.values())

    def compact() -> int:
        assert main(["offline", "compact", "--project", str(project.path), "--json"]) == 0
        return sum(done["files"] for done in json.loads(capsys.readouterr().out)["compact"])

    merged = 0
    for life in range(3):
        worker = StreamWorker(small, project)
        for _ in range(12):
            worker.step()
        merged += compact()
        for _ in range(0 if merged else 200):  # on a busy machine the first steps find little
            worker.step()
            merged += compact()
            if merged:
                break
        for _ in range(3 * life):
            worker.step()
        worker.close()  # without saving: what it has not saved is lost
    assert merged

    worker = StreamWorker(small, project)

    turns = itertools.count(1)

    def done() -> bool:
        worker.step()
        if next(turns) % 20 == 0:
            compact()
        try:
            wait_applied(stack, project, offsets=ends, watermark_us=newest_us, timeout_s=0)
        except UnavailableError:
            return False
        return True

    eventually(done, timeout_s=120, what="the worker applies everything")
    worker.stop()
    worker.run()
    while compact():
        pass

    # Of each partition of the three logs: one large file, what follows it, and the newest, which may be taken back.
    assert files_of(stack, project) <= 4 * PARTITIONS * 3
    events = read_events(stack.offline_dir, project, project.streams[0], project.labels[0], with_late=False)
    assert sorted(events["sale"].to_pylist()) == sorted(traffic.clean)
    for view in project.views:
        keys = [row[view.entity] for row in traffic.clean.values()]
        at_us = np.array([row["us"] for row in traffic.clean.values()])
        values, found = log_values(feature_log(stack, project, view), view, keys, at_us)
        np.testing.assert_array_equal(values[found], expected_values(traffic, view, keys, at_us)[found])
        assert found.mean() > 0.8

    again = StreamWorker(stack, project)
    again.stop()
    again.run()
