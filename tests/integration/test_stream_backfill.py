"""A view defined while the stream runs: backfilled beside it, killed on the way, then live, no gap and no double."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from feature_store.definitions.applied_views import read_applied
from feature_store.offline.log_bounds import committed_below
from feature_store.offline.log_lock import backfill_lock, no_backfills, upkeep_lock
from feature_store.offline.offline_log import log_folder
from feature_store.plan import compile_view
from feature_store.upkeep.compaction import compact
from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.spec.project import Project, load_project
from streams.backfill.backfill import staging_folder
from streams.backfill.backfill_run import run_backfill
from streams.progress import Progress, wait_applied
from tests.eventually import eventually
from tests.integration.test_stream_kill import worker_of
from tests.stream_world import (
    DEFINITIONS,
    Traffic,
    expected_values,
    feature_log,
    log_values,
    make_project,
    make_traffic,
    online_values,
    publish,
)

_SMALL = {"HEADRACE_STREAM_BATCH_ROWS": "100", "HEADRACE_STREAM_SNAPSHOT_EVERY_S": "0.05"}


def headrace(settings: Settings, *words: str, **more: str) -> subprocess.Popen[str]:
    env = {**os.environ, **more, "HEADRACE_HOME": str(settings.home)}
    env.pop("HEADRACE_TEST_HOME", None)
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", *words], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def until(traffic: Traffic, arrival_us: int, *, after: bool) -> Traffic:
    """The messages before an arrival, or from it on."""
    parts = (
        [message for message in messages if (message.arrival_us >= arrival_us) == after]
        for messages in (traffic.events, traffic.labels)
    )
    events, labels = parts
    return replace(traffic, events=events, labels=labels)


class Upkeep(threading.Event):
    """Compacts the event log when a backfill looks whether to stop for the second time, and stops it with the third."""

    def __init__(self, settings: Settings, project: Project) -> None:
        super().__init__()
        self.settings, self.project, self.merged, self.looks = settings, project, 0, 0

    def is_set(self) -> bool:
        self.looks += 1
        if self.looks != 2:
            return self.looks > 2
        offline, name = self.settings.offline_dir, self.project.name
        with pytest.raises(RejectedError, match="another process computes"), backfill_lock(offline, name, "shop_risk"):
            pass
        with pytest.raises(RejectedError, match="a backfill"), no_backfills(offline, name):
            pass
        with upkeep_lock(offline, name), backfill_lock(offline, name, "card_use"):
            for folder in log_folder(offline, name, "events", self.project.streams[0].name).iterdir():
                self.merged += sum(done.files for done in compact(folder, below=committed_below(folder)))
        return False


def with_view(project: Project, text: str) -> Project:
    (project.path / "shop.py").write_text(text, encoding="utf-8")
    return load_project(project.path)


def check(settings: Settings, project: Project, traffic: Traffic, view: str) -> None:
    """Both stores hold what the engine of files computes, now and for the past."""
    chosen, rows = project.view(view), list(traffic.clean.values())
    progress = Progress(settings.redis.url, project.name)
    at_us = min(report.watermark_us for report in progress.views() if report.view == view)
    progress.close()
    keys = sorted({row[chosen.entity] for row in rows})
    expected = expected_values(traffic, chosen, keys, np.full(len(keys), at_us))
    np.testing.assert_array_equal(online_values(settings, project, chosen, keys, at_us), expected)
    at = np.array([row["us"] for row in rows])
    keys = [row[chosen.entity] for row in rows]
    values, found = log_values(feature_log(settings, project, chosen), chosen, keys, at)
    np.testing.assert_array_equal(values[found], expected_values(traffic, chosen, keys, at)[found])
    assert found.mean() > 0.5


@pytest.mark.slow
def test_a_view_defined_later_ends_in_both_stores_like_one_that_was_always_there(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    stream = fresh_name("later").replace("_", "-")
    project = make_project(tmp_path / fresh_name("later"), stream)
    whole = DEFINITIONS.format(stream=stream, form="Json()")
    first = with_view(project, whole.split("shop_risk = ")[0])
    traffic = make_traffic(3_000, seed=21)
    middle_us = traffic.events[len(traffic.events) // 2].arrival_us
    folder, log = ("--project", str(project.path)), tmp_path / "worker.log"

    left, begun = traffic, until(traffic, middle_us, after=False)
    with worker_of(stack, first, log) as worker:
        for share in (0.3, 0.6, 1):
            border_us = begun.events[round(share * (len(begun.events) - 1))].arrival_us + 1
            # Durable in between, so that there are files to merge.
            ends = publish(stack, first, until(left, border_us, after=False))
            wait_applied(stack, first, offsets=ends, durable=True, timeout_s=90)
            left = until(left, border_us, after=True)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()

    both = with_view(project, whole)
    planned = headrace(stack, "features", "plan", "--json", *folder)
    changes = {change["view"]: change for change in json.loads(planned.communicate(timeout=60)[0])["plan"]}
    assert {name: change["change"] for name, change in changes.items()} == {"card_use": "unchanged", "shop_risk": "new"}
    assert changes["shop_risk"]["rows"] > 1_000

    with worker_of(stack, both, log) as worker:
        eventually(lambda: "view waits for its history" in log.read_text(), timeout_s=60, what="the new view waits")
        killed = headrace(stack, "backfill", "shop_risk", *folder, **_SMALL)
        staging = staging_folder(stack, both.name, "shop_risk", version_of(both))
        eventually(
            lambda: list(staging.rglob("*.snapshot")) or killed.poll() is not None, timeout_s=60, what="a snapshot"
        )
        killed.kill()
        killed.communicate(timeout=60)
        assert wait_applied(stack, both, offsets=ends, durable=True, timeout_s=60) == ("shop_risk",)
        small = replace(stack, stream=replace(stack.stream, batch_rows=100))
        upkeep = Upkeep(stack, both)
        assert not run_backfill(small, both, both.view("shop_risk"), stop=upkeep).is_live
        assert upkeep.merged > 0
        with upkeep_lock(stack.offline_dir, both.name):
            done = headrace(stack, "backfill", "shop_risk", "--json", *folder, **_SMALL)
            assert done.stderr is not None
            assert any("is at work on the files" in line for line in done.stderr), "it waits at its end"
        out, err = done.communicate(timeout=120)
        assert done.returncode == 0, err
        assert json.loads(out)["is_live"], out

        ends = publish(stack, both, left)
        wait_applied(stack, both, offsets=ends, durable=True, timeout_s=90)
        newest_us = max(row["us"] for row in traffic.clean.values())
        wait_applied(stack, both, watermark_us=newest_us, timeout_s=60)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, log.read_text()

    for view in ("card_use", "shop_risk"):
        check(stack, both, traffic, view)
    assert not staging.exists()
    applied = read_applied(stack, both.name)
    assert applied is not None
    assert applied.is_live("shop_risk", version_of(both))


def version_of(project: Project) -> str:
    return compile_view(project.view("shop_risk")).version
