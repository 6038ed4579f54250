"""The monitor process on real Kafka and Redis."""

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from headrace.artifact_format import MANIFEST_FILE
from headrace.config import Settings
from headrace.contracts.artifacts import ModelManifest
from headrace.contracts.monitoring import WindowReport
from headrace.contracts.topics import PREDICTIONS, scorer_group
from headrace.kafka_clients import consumer, end_offsets
from headrace.manifest_file import read_manifest
from monitors.reference import build_reference, load_reference
from tests.eventually import eventually
from tests.integration.monitor_rig import Rig, make_rig
from tests.unit.monitors.world import Bench, World, make_bench

HOURS = 8


@pytest.fixture
def rig(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str]) -> Rig:
    return make_rig(stack, tmp_path / "home", fresh_name("cards"))


def expected(rig: Rig, tmp_path: Path) -> list[WindowReport]:
    """What a monitor without servers reports of the same world."""
    bench: Bench = make_bench(tmp_path / "bench", name=rig.model.name)
    manifest = read_manifest(rig.settings.models_dir / rig.model.name / "v1" / MANIFEST_FILE, ModelManifest)
    bench.reference = load_reference(build_reference(rig.settings, manifest))
    bench.monitor = bench.new_monitor()
    world, past, reports = World(seed=11), {}, []
    for number in range(HOURS):
        past[number] = world.hour(number, shift=shift(number))
        if number - 2 in past:
            bench.label(past[number - 2])
        bench.feed(past[number])
        reports.append(bench.close(number))
    return reports


def shift(number: int) -> float:
    """The world drifts after four hours."""
    return 0.8 if number >= 4 else 0.0


def test_reports_through_kafka_equal_those_without_servers(rig: Rig, tmp_path: Path) -> None:
    process = rig.spawn("monitor")
    try:
        world, past = World(seed=11), {}
        for number in range(HOURS):
            rig.play(world, [number], past, shift=shift(number))
        rig.closed(HOURS - 1)
    finally:
        process.terminate()
        assert process.wait(30) == 0

    assert rig.reports() == expected(rig, tmp_path)


def test_killed_at_any_moment_it_goes_on_and_reports_the_same(rig: Rig, tmp_path: Path) -> None:
    """Three kills: each window is published once, with the numbers of a monitor that was never killed."""
    world, past = World(seed=11), {}
    process = rig.spawn("monitor")
    try:
        for number in range(HOURS):
            rig.play(world, [number], past, shift=shift(number))
            if number in (2, 4, 6):
                if number == 4:
                    rig.closed(3)
                process.send_signal(signal.SIGKILL)
                process.wait(30)
                process = rig.spawn("monitor")
        rig.closed(HOURS - 1)
    finally:
        process.terminate()
        process.wait(30)

    assert rig.reports() == expected(rig, tmp_path)


def test_garbage_on_its_topics_stops_nothing(rig: Rig) -> None:
    process = rig.spawn("monitor")
    try:
        for topic in (PREDICTIONS.name, rig.model.label.name):
            for value in (b"{", b"[]", b'{"model": 1}', b"\xff", b""):
                rig.sender.send(topic, value, key="x")
        rig.sender.flush()
        rig.play(World(), range(2), {})
        rig.closed(1)
    finally:
        process.terminate()
        assert process.wait(30) == 0

    assert [report.rows for report in rig.reports()] == [400, 400]


def test_a_window_waits_for_the_scorer_and_not_for_a_quiet_log(rig: Rig) -> None:
    """Repeated requests keep the log busy; the scorer's committed offsets say when the predictions are complete."""
    world = World()
    hour = world.hour(0)
    client = consumer(rig.settings, scorer_group(rig.project.name))
    events = rig.model.events.name
    process = rig.spawn("monitor")

    def commit(back: int) -> None:
        ends = end_offsets(rig.settings, [events])
        client.commit(
            offsets=[TopicPartition(topic, number, end - back) for (topic, number), end in ends.items()],
            asynchronous=False,
        )

    def is_closed() -> bool:
        rig.predict(dataclasses.replace(hour, ids=hour.ids[:1]), source="http")
        return bool(rig.reports())

    try:
        rig.tick(0)
        commit(1)
        rig.predict(dataclasses.replace(hour, ids=hour.ids[:300]))
        assert not is_closed()
        rig.predict(dataclasses.replace(hour, ids=hour.ids[300:]))
        commit(0)
        eventually(is_closed, timeout_s=150)
    finally:
        process.terminate()
        process.wait(30)
        client.close()

    assert [report.rows for report in rig.reports()] == [400]
