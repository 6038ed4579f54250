"""A replay day by day, with pauses in which every partition falls idle: exact, and durable at every barrier."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.compute import compute_file
from feature_store.offline.event_log import read_events
from headrace.config import Settings
from headrace.demo.generator import World, generate
from headrace.spec.project import Project, load_project
from streams.logs.dead_letters import read_dead_letters
from streams.progress import Progress, wait_applied
from streams.publisher import Publisher
from streams.sources.idleness import IDLE_AFTER_S
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.stream_world import feature_log, log_values, online_values

FRAUD = Path(__file__).resolve().parents[2] / "examples" / "fraud" / "fraud.py"
DAY_US = 86_400_000_000


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The fraud example under names nobody else has."""
    name = f"replay_{uuid.uuid4().hex[:8]}"
    folder = tmp_path / name
    folder.mkdir()
    text = FRAUD.read_text(encoding="utf-8").replace('"transactions"', f'"tx-{name}"')
    (folder / "fraud.py").write_text(text.replace('"fraud-labels"', f'"labels-{name}"'), encoding="utf-8")
    return load_project(folder)


@pytest.fixture
def stop(stack: Settings, project: Project) -> Iterator[Callable[[], None]]:
    """A worker runs; the value stops it, and returns when everything is saved."""
    worker = StreamWorker(stack, project)
    thread = threading.Thread(target=worker.run)
    thread.start()

    def end() -> None:
        worker.stop()
        thread.join()

    yield end
    end()


def test_a_replay_with_pauses_is_exact_and_durable_day_by_day(
    stack: Settings, project: Project, stop: Callable[[], None]
) -> None:
    stream = project.only_stream()
    labels = project.labels_of(stream)
    table = generate(World(customers=120, terminals=150, days=12))
    publisher = Publisher(stack, project, stream, table, labels)
    end_us = publisher.span_us[0] // DAY_US * DAY_US
    published = 0
    for day in range(12):
        end_us += DAY_US
        published += publisher.publish_until(end_us)
        wait_applied(stack, project, watermark_us=end_us, timeout_s=60)

        assert read_events(stack.offline_dir, project, stream, labels).num_rows == published
        if day in (4, 8):
            wait_until_idle(stack, project)
    stop()

    expected = compute_file(project, stream, table)
    for view in project.views:
        log = feature_log(stack, project, view)
        times_us = np.asarray(table[stream.time].cast(pa.int64()).to_numpy())
        values, found = log_values(log, view, table[view.entity].to_pylist(), times_us)
        values[~found] = 0.0
        wanted = [expected[name].cast(pa.float64()).to_numpy() for name in view.full_names]
        np.testing.assert_array_equal(values, np.stack(wanted, axis=1))
    assert not list(read_dead_letters(stack, stream.name))


def test_a_value_expires_when_nothing_arrives_but_time(
    stack: Settings, project: Project, stop: Callable[[], None]
) -> None:
    """An event leaves its windows because a heartbeat says that time has passed."""
    stream = project.only_stream()
    table = generate(World(customers=20, terminals=20, days=2))
    publisher = Publisher(stack, project, stream, table, project.labels_of(stream))
    last_us = publisher.span_us[1]
    publisher.publish_until(last_us + 1)
    later_us = last_us + 40 * DAY_US

    publisher.publish_until(later_us)
    wait_applied(stack, project, watermark_us=later_us, timeout_s=60)

    view = project.view("customer_activity")
    keys = sorted(set(table["customer_id"].to_pylist()))
    counts = online_values(stack, project, view, keys, None)[:, :3]
    assert (counts == 0).all()


def wait_until_idle(settings: Settings, project: Project) -> None:
    """Longer than it takes to be idle, by the worker's own reports: it marks, and every view takes the marks in."""
    before = keyed_offsets(settings, project)
    eventually(
        lambda: all(now > then for now, then in zip(keyed_offsets(settings, project), before, strict=True)),
        timeout_s=IDLE_AFTER_S + 30,
        what="every partition of every view hears that its sources are idle",
    )


def keyed_offsets(settings: Settings, project: Project) -> list[int]:
    progress = Progress(settings.redis.url, project.name)
    reports = sorted(progress.views(), key=lambda report: (report.view, report.partition))
    progress.close()
    return [report.keyed_offset for report in reports]
