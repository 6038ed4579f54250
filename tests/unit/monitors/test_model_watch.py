"""When a window may close: what has to be known, and what has to be read before."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace.contracts.topics import DEPLOYMENTS, PREDICTIONS
from monitors.model_watch import ModelWatch, Surroundings
from monitors.ticks import TickBoard
from tests.unit.monitors.world import HOUR_US, START_US, Bench, World, make_bench, records_of

EVENTS, LABELS = "cards-events", "cards-labels"


class Around:
    """Topics that are as a test says."""

    def __init__(self) -> None:
        self.at_end: set[int] = set()
        self.scored: bool | None = None
        self.asked: list[Mapping[int, int]] = []
        self.now_us = 0

    def is_scored(self, topic: str, offsets: Mapping[int, int]) -> bool | None:
        assert topic == EVENTS
        self.asked.append(offsets)
        return self.scored


@pytest.fixture
def around() -> Around:
    return Around()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


@pytest.fixture
def ticks() -> TickBoard:
    return TickBoard()


@pytest.fixture
def watch(bench: Bench, around: Around, ticks: TickBoard) -> ModelWatch:
    return ModelWatch(
        bench.model,
        bench.monitor._outlook,
        Surroundings(
            partitions={PREDICTIONS.name: 2, EVENTS: 2, LABELS: 1},
            is_at_end=lambda partition: partition in around.at_end,
            is_scored=around.is_scored,
            now_us=lambda: around.now_us,
        ),
        ticks,
    )


def predict(watch: ModelWatch, bench: Bench, number: int, partition: int, *, live: bool = False) -> None:
    hour = World(rows=50, seed=number).hour(number)
    for record in records_of(hour, bench.model, {"v1": bench.scorer.score(hour.inputs)}):
        watch.add_prediction(record, partition)
    watch._is_live = live


def tick(ticks: TickBoard, number: int, *, labels: bool = True) -> None:
    until_us = START_US + (number + 1) * HOUR_US
    for partition in (0, 1):
        ticks.note(EVENTS, partition, until_us, 100 * number + partition)
    if labels:
        ticks.note(LABELS, 0, until_us, number)


def test_records_past_the_window_in_every_partition_close_it(watch: ModelWatch, bench: Bench) -> None:
    predict(watch, bench, 0, 0)
    predict(watch, bench, 2, 0)
    predict(watch, bench, 0, 1)
    watch.close_next(watch.time.watermark_us or START_US)
    due = watch.due()
    assert due is None

    predict(watch, bench, 2, 1)
    due = watch.due()

    assert due is not None
    assert due.read_first == (LABELS, DEPLOYMENTS.name)
    assert watch.close_next(due.reached_us) is not None


def test_an_idle_partition_is_left_out_after_the_log_is_read_to_its_end(
    watch: ModelWatch, bench: Bench, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.model_watch.IDLE_S", 0)
    predict(watch, bench, 0, 0)
    predict(watch, bench, 2, 0)
    assert watch.due() is None

    around.at_end = {1}
    due = watch.due()

    assert due is not None
    assert PREDICTIONS.name in due.read_first


def test_a_tick_waits_until_the_scorer_has_passed_it(
    watch: ModelWatch, bench: Bench, around: Around, ticks: TickBoard
) -> None:
    predict(watch, bench, 0, 0)
    tick(ticks, 0)
    around.scored = False
    assert watch.due() is None

    around.scored = True
    due = watch.due()

    assert due is not None
    assert due.reached_us == START_US + HOUR_US
    assert PREDICTIONS.name in due.read_first
    assert around.asked[-1] == {0: 1, 1: 2}


def test_a_tick_waits_for_the_labels_of_its_time(
    watch: ModelWatch, bench: Bench, around: Around, ticks: TickBoard
) -> None:
    predict(watch, bench, 0, 0)
    around.scored = True
    ticks.note(LABELS, 0, START_US, 0)
    tick(ticks, 0, labels=False)
    assert watch.due() is None

    tick(ticks, 0)

    assert watch.due() is not None


def test_without_a_scorer_a_tick_waits_for_a_quiet_log(
    watch: ModelWatch, bench: Bench, around: Around, ticks: TickBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(watch, bench, 0, 0)
    tick(ticks, 0)
    around.at_end = {0, 1}
    assert watch.due() is None

    monkeypatch.setattr("monitors.model_watch.QUIET_S", 0)
    around.at_end = {0}
    assert watch.due() is None

    around.at_end = {0, 1}
    assert watch.due() is not None


def test_live_the_wall_clock_ends_a_lull(
    watch: ModelWatch, bench: Bench, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that stops altogether must still close its windows, or nobody would hear of the silence."""
    monkeypatch.setattr("monitors.model_watch.IDLE_S", 0)
    predict(watch, bench, 0, 0, live=True)
    around.at_end = {0, 1}
    around.now_us = START_US + 4 * HOUR_US
    due = watch.due()
    assert due is not None

    reports = []
    while (outcome := watch.close_next(due.reached_us)) is not None:
        reports.append(outcome.report)

    assert [report.rows for report in reports] == [50, 0, 0]
    assert any(verdict.alarming for verdict in reports[2].verdicts if verdict.cause == "freshness")


def test_a_restored_watch_knows_how_far_it_was(
    watch: ModelWatch, bench: Bench, around: Around, ticks: TickBoard
) -> None:
    predict(watch, bench, 0, 0)
    predict(watch, bench, 2, 1)
    plain, arrays = watch.state()
    other = ModelWatch(bench.model, bench.monitor._outlook, watch._around, ticks)
    other.restore(plain, arrays)

    assert other.due() == watch.due()
    assert other.time.state() == watch.time.state()
