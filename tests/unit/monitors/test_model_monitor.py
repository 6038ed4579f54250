"""The monitor of one model: what it reports, and that no order, duplicate or restart changes it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from headrace.contracts.monitoring import DATA_CAUSES, Cause, IncidentState, WindowReport
from headrace.contracts.rollout import RolloutRecord, Stage
from monitors import incident
from tests.unit.monitors.world import HOUR_US, START_US, Bench, World, make_bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def alarming(report: WindowReport, *, data: bool | None = None) -> set[str]:
    return {
        f"{verdict.cause}:{verdict.subject}"
        for verdict in report.verdicts
        if verdict.alarming and (data is None or (verdict.cause in DATA_CAUSES) == data)
    }


def test_a_stable_world_is_quiet(bench: Bench) -> None:
    reports = bench.play(World(), range(12))

    assert [alarming(report) for report in reports] == [set()] * 12
    assert {report.rows for report in reports} == {400}


def test_windows_are_numbered_by_event_time(bench: Bench) -> None:
    reports = bench.play(World(), range(3))

    assert [report.window for report in reports] == [START_US // HOUR_US + number for number in (1, 2, 3)]
    assert [report.until_us - report.from_us for report in reports] == [HOUR_US] * 3


def test_a_planted_shift_is_confirmed_within_k_windows(bench: Bench) -> None:
    """Two of three windows are asked for; half a deviation is noticed in the first two."""
    world, policy = World(), bench.model.monitors
    track = incident.new_track(bench.model.name, "model")
    for report in bench.play(world, range(4)):
        track = incident.step(track, report, policy)
    assert track.state is IncidentState.OK

    for report in bench.play(world, range(4, 6), shift=0.7):
        track = incident.step(track, report, policy)

    assert track.state is IncidentState.CONFIRMED
    assert "drift:amount" in track.subjects


def test_predictions_that_change_alone_are_noticed(bench: Bench) -> None:
    """The scorer is broken: inputs as ever, scores doubled."""
    hour = World().hour(0)
    bench.feed(hour, scores={"v1": np.sqrt(bench.scorer.score(hour.inputs))})

    assert alarming(bench.close(0)) == {"prediction:score"}


def test_nulls_are_a_data_finding(bench: Bench) -> None:
    bench.feed(World().hour(0), nulls={"risk": 0.5})

    assert alarming(bench.close(0), data=True) == {"nulls:risk"}


def test_an_absent_input_is_a_schema_finding_and_no_null(bench: Bench) -> None:
    bench.feed(World().hour(0), absent="visits")

    assert alarming(bench.close(0), data=True) == {"schema:visits"}


def test_a_tenth_of_the_volume_is_a_data_finding(bench: Bench) -> None:
    world = World()
    bench.play(world, range(5))
    bench.feed(world.hour(5, rows=40))

    assert "volume:rows" in alarming(bench.close(5), data=True)


def test_silence_is_a_data_finding_although_nothing_came(bench: Bench) -> None:
    bench.play(World(), range(2))

    report = bench.close(2)

    assert report.rows == 0
    assert "freshness:events" in alarming(report, data=True)


def test_a_trial_request_before_the_real_beginning_is_no_silence(bench: Bench) -> None:
    """One request at the start of the first window, the stream from the second one on."""
    world = World()
    trial = world.hour(0, rows=1)
    bench.feed(dataclasses.replace(trial, times_us=np.array([START_US])))
    found = [alarming(bench.close(0), data=True)]
    for number in (1, 2, 3):
        bench.feed(world.hour(number))
        found.append(alarming(bench.close(number), data=True))

    assert found == [set()] * 4


def test_before_the_first_prediction_there_is_nothing_to_complain_of(bench: Bench) -> None:
    bench.monitor.next_end_us(START_US + 1)

    report = bench.close(0)

    assert (report.rows, report.verdicts, report.version) == (0, (), "")


def test_few_rows_are_judged_together_with_the_next_window(bench: Bench) -> None:
    world = World()
    for number in (0, 1):
        bench.feed(world.hour(number, rows=60))

    first, second = bench.close(0), bench.close(1)

    assert {verdict.cause for verdict in first.verdicts} <= DATA_CAUSES
    assert Cause.DRIFT in {verdict.cause for verdict in second.verdicts}
    assert second.from_us == first.from_us
    assert (first.rows, second.rows) == (60, 60)


def test_quality_is_measured_when_labels_have_matured(bench: Bench) -> None:
    reports = bench.play(World(), range(6))

    assert [bool(report.quality) for report in reports] == [False, False, True, True, True, True]
    assert all(0.2 < report.quality["average_precision"] <= 1 for report in reports[2:])
    assert reports[3].quality["label_coverage"] == 1.0
    assert any(name.startswith("average_precision[amount q4") for name in reports[3].quality)


def test_concept_drift_shows_in_quality_and_error(bench: Bench) -> None:
    """Inputs as ever; what is bad has turned around."""
    world = World(rows=1500)
    bench.play(world, range(6))

    reports = bench.play(world, range(6, 14), flip=True)

    found = set().union(*(alarming(report, data=False) for report in reports))
    assert {"quality:average_precision", "concept:error"} <= found
    assert not {"drift:amount", "drift:risk", "drift:visits"} & found


def test_labels_that_stay_away_are_told_as_coverage_not_as_harm(bench: Bench) -> None:
    world = World()
    hours = [world.hour(number) for number in range(8)]
    reports = []
    for number, hour in enumerate(hours):
        bench.feed(hour)
        if number >= 2:
            known = hours[number - 2]
            keep = slice(0, 160)
            bench.label(dataclasses.replace(known, ids=known.ids[keep], labels=known.labels[keep]))
        reports.append(bench.close(number))

    measured = [report for report in reports if report.quality]

    assert measured
    assert all(report.quality["label_coverage"] < 0.5 for report in measured)
    assert all(verdict.cause is not Cause.QUALITY for report in measured for verdict in report.verdicts)


def test_a_score_that_is_not_a_number_kills_nothing(bench: Bench) -> None:
    """River's detectors die of one NaN; here it is left out, and a later change is still found."""
    world = World(rows=1500)
    broken = world.hour(0)
    scores = bench.scorer.score(broken.inputs)
    scores[::50] = np.nan
    bench.feed(broken, scores={"v1": scores})
    bench.close(0)
    past = {0: broken}
    reports = []
    for number in range(1, 16):
        past[number] = world.hour(number, flip=number >= 7)
        bench.feed(past[number])
        if number >= 2:
            bench.label(past[number - 2])
        reports.append(bench.close(number))

    assert any("concept:error" in alarming(report) for report in reports[8:])


def test_order_and_duplicates_change_nothing(tmp_path: Path) -> None:
    straight, shuffled = make_bench(tmp_path / "a"), make_bench(tmp_path / "b")
    hours = [World(seed=3).hour(number) for number in range(5)]
    rng = np.random.default_rng(1)
    for number, hour in enumerate(hours):
        straight.feed(hour)
        order = rng.permutation(len(hour.ids))
        mixed = dataclasses.replace(
            hour,
            ids=hour.ids[order],
            times_us=hour.times_us[order],
            cards=hour.cards[order],
            inputs=hour.inputs[order],
            labels=hour.labels[order],
        )
        shuffled.feed(mixed, source="http")
        shuffled.feed(hour)
        if number >= 2:
            straight.label(hours[number - 2])
            shuffled.label(hours[number - 2])
            shuffled.label(hours[number - 2])

        assert straight.close(number) == shuffled.close(number)


def test_restored_equals_never_stopped(tmp_path: Path) -> None:
    steady, killed = make_bench(tmp_path / "a"), make_bench(tmp_path / "b")
    world = World(seed=5, rows=150)
    past = {}
    for number in range(9):
        past[number] = world.hour(number, shift=0.4 * (number > 4))
        for bench in (steady, killed):
            bench.feed(past[number])
            if number >= 2:
                bench.label(past[number - 2])
        plain, arrays = killed.monitor.state()
        killed.monitor = killed.new_monitor()
        assert killed.monitor.fits(plain)
        killed.monitor.restore(plain, arrays)

        assert steady.close(number) == killed.close(number)


def test_a_late_record_is_counted_and_left_out(bench: Bench) -> None:
    world = World()
    hour = world.hour(0)
    bench.feed(hour)
    bench.close(0)

    bench.feed(hour)
    bench.feed(world.hour(1))
    report = bench.close(1)

    assert report.rows == 400
    assert bench.monitor.windows.late == 400


def test_evidence_compares_the_version_on_trial_with_the_champion(bench: Bench) -> None:
    bench.records[2] = RolloutRecord(
        model="cards", epoch=2, stage=Stage.CANARY, champion="v1", challenger="v2", rollout_id="r1", share=0.5
    )
    world = World()
    reports, past = [], {}
    for number in range(4):
        past[number] = hour = world.hour(number)
        scores = bench.scorer.score(hour.inputs)
        worse = np.clip(scores * 0.3, 0, 1)
        worse[:2] = np.nan
        bench.feed(hour, scores={"v1": scores, "v2": worse}, served="half", epoch=2)
        if number >= 2:
            bench.label(past[number - 2])
        reports.append(bench.close(number))

    first, last = reports[0].evidence, reports[3].evidence
    assert first is not None
    assert last is not None
    assert (first.total.events, first.total.failures, first.total.units) == (398, 2, 60)
    assert first.stage_served.events == sum(past[0].cards[2:] % 2)
    assert first.total.flagged_only_champion > first.total.flagged_only_challenger == 0
    assert (last.total.matured_events, last.total.matured_units) == (2 * 398, 120)
    assert last.total.loss_sum > 0


def test_in_probation_the_promoted_version_is_still_the_one_on_trial(bench: Bench) -> None:
    shadow = RolloutRecord(model="cards", epoch=2, stage=Stage.SHADOW, champion="v1", challenger="v2", rollout_id="r1")
    bench.records[2] = shadow
    bench.records[3] = dataclasses.replace(shadow, epoch=3, stage=Stage.PROBATION, champion="v2", challenger="v1")
    world = World()
    for number, (epoch, served) in enumerate([(2, "v1"), (3, "v2")]):
        hour = world.hour(number)
        scores = bench.scorer.score(hour.inputs)
        bench.feed(hour, scores={"v1": scores, "v2": scores * 0.1}, served=served, epoch=epoch)
        report = bench.close(number)

    assert report.version == "v2"
    assert report.evidence.total.events == 800
    assert report.evidence.total.flagged_challenger == 0 < report.evidence.total.flagged_champion
    assert report.evidence.stage_served.events == 400


def test_the_end_of_a_rollout_ends_its_evidence(bench: Bench) -> None:
    bench.records[2] = RolloutRecord(
        model="cards", epoch=2, stage=Stage.SHADOW, champion="v1", challenger="v2", rollout_id="r1"
    )
    bench.records[3] = RolloutRecord(model="cards", epoch=3, stage=Stage.STEADY, champion="v1")
    world = World()
    evidence = []
    for number, epoch in enumerate([2, 3]):
        hour = world.hour(number)
        scores = bench.scorer.score(hour.inputs)
        bench.feed(hour, scores={"v1": scores, "v2": scores} if epoch == 2 else {"v1": scores}, epoch=epoch)
        evidence.append(bench.close(number).evidence)

    assert evidence[0] is not None
    assert evidence[1] is None
