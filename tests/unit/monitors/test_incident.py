"""Laws of the incident state machine."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.codec import decode, encode
from headrace.contracts.monitoring import Cause, IncidentState, Verdict, WindowReport
from headrace.errors import RejectedError
from headrace.spec.policies import MonitorPolicy
from monitors import incident
from monitors.incident import OPEN, TRANSITIONS, IncidentTrack, acknowledge, dedup_key, describe, new_track, step

POLICY = MonitorPolicy(window="1h", persistence=(2, 3), resolve_after=2)
HOUR_US = 3_600_000_000

LEVELS = {"clean": 0.1, "grey": 0.8, "bad": 1.5}


def report(number: int, findings: dict[str, str], *, version: str = "v1", cause: Cause = Cause.DRIFT) -> WindowReport:
    """A window in which each subject is clean, grey (between 0.7 and 1 of the limit) or bad."""
    return WindowReport(
        model="m",
        window=number,
        from_us=number * HOUR_US,
        until_us=(number + 1) * HOUR_US,
        rows=100,
        version=version,
        verdicts=tuple(
            Verdict(cause=cause, subject=name, statistic="psi", value=LEVELS[how], threshold=1.0, alarming=how == "bad")
            for name, how in findings.items()
        ),
        quality={},
    )


def run(days: list[dict[str, str]], kind: str = "model", **options: object) -> list[IncidentTrack]:
    track, tracks = new_track("m", kind), []
    for number, findings in enumerate(days):
        track = step(track, report(number, findings, **options), POLICY)  # type: ignore[arg-type]
        tracks.append(track)
    return tracks


findings = st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(list(LEVELS)), max_size=2)
histories = st.lists(st.tuples(findings, st.sampled_from(["v1", "v2"])), max_size=25)


@given(histories, st.sampled_from(["model", "data"]))
def test_every_step_is_legal_and_repeatable(history: list, kind: str) -> None:
    cause = Cause.NULLS if kind == "data" else Cause.DRIFT
    track = new_track("m", kind)
    for number, (what, version) in enumerate(history):
        seen = report(number, what, version=version, cause=cause)
        after = step(track, seen, POLICY)

        assert after == step(track, seen, POLICY)
        assert _reachable(track.state, after.state)
        track = after


@given(histories)
def test_what_is_kept_as_json_goes_on_alike(history: list) -> None:
    track = new_track("m", "model")
    for number, (what, version) in enumerate(history):
        seen = report(number, what, version=version)
        kept = decode(encode(track), IncidentTrack)

        assert step(kept, seen, POLICY) == step(track, seen, POLICY)
        track = step(track, seen, POLICY)


@given(histories)
def test_confirmation_needs_one_subject_in_two_of_three_windows(history: list) -> None:
    track, bad = new_track("m", "model"), []
    for number, (what, version) in enumerate(history):
        after = step(track, report(number, what, version=version), POLICY)
        bad.append({(name, version) for name, how in what.items() if how == "bad"})
        if after.state is IncidentState.CONFIRMED and track.state not in OPEN:
            assert any(sum(subject in window for window in bad[-3:]) >= 2 for subject in bad[-1])
        track = after


@given(histories)
def test_many_subjects_are_one_incident_that_opens_once(history: list) -> None:
    opened = set()
    track = new_track("m", "model")
    for number, (what, version) in enumerate(history):
        track = step(track, report(number, what, version=version), POLICY)
        if track.is_open:
            opened.add(track.opened_us)
            assert track.subjects
            assert track.summary
        elif track.state is IncidentState.RESOLVED:
            opened.clear()

        assert len(opened) <= 1


def test_one_bad_window_is_a_suspicion_that_passes() -> None:
    states = [track.state for track in run([{"a": "bad"}, {"a": "clean"}, {"a": "clean"}, {"a": "clean"}])]

    assert states == [IncidentState.SUSPECTED] * 3 + [IncidentState.OK]


def test_two_subjects_in_turn_confirm_nothing() -> None:
    tracks = run([{"a": "bad", "b": "clean"}, {"a": "clean", "b": "bad"}, {"a": "clean", "b": "clean"}])

    assert tracks[-1].state is IncidentState.SUSPECTED


def test_grey_windows_do_not_resolve() -> None:
    """Between 0.7 of the threshold and the threshold a finding is neither alarming nor over."""
    tracks = run([{"a": "bad"}, {"a": "bad"}, *[{"a": "grey"}] * 6, {"a": "clean"}, {"a": "clean"}])

    assert [track.state for track in tracks[1:8]] == [IncidentState.CONFIRMED] * 7
    assert tracks[-1].state is IncidentState.RESOLVED


def test_what_is_not_measured_is_not_clean() -> None:
    tracks = run([{"a": "bad"}, {"a": "bad"}, *[{"b": "clean"}] * 5])

    assert tracks[-1].state is IncidentState.CONFIRMED


def test_another_version_starts_afresh_and_is_asked_for_its_own_evidence() -> None:
    tracks = run([{"a": "bad"}, {"a": "bad"}])
    assert tracks[-1].insists

    after = step(tracks[-1], report(2, {"a": "bad"}, version="v2"), POLICY)

    assert after.state is IncidentState.CONFIRMED
    assert not after.insists


def test_another_version_without_findings_resolves() -> None:
    track = run([{"a": "bad"}, {"a": "bad"}])[-1]
    for number in (2, 3):
        track = step(track, report(number, {"b": "clean"}, version="v2"), POLICY)

    assert track.state is IncidentState.RESOLVED


def test_a_resolved_model_incident_rests_before_the_next_suspicion() -> None:
    tracks = run([{"a": "bad"}] * 2 + [{"a": "clean"}] * 2 + [{"a": "bad"}] * 4)

    assert [track.state for track in tracks[3:]] == [IncidentState.RESOLVED] * 2 + [
        IncidentState.SUSPECTED,
        IncidentState.CONFIRMED,
        IncidentState.CONFIRMED,
    ]


def test_data_incidents_open_at_once_and_do_not_rest() -> None:
    tracks = run([{"a": "bad"}, {"a": "clean"}, {"a": "clean"}, {"a": "bad"}], "data", cause=Cause.NULLS)

    assert [track.state for track in tracks] == [
        IncidentState.CONFIRMED,
        IncidentState.CONFIRMED,
        IncidentState.RESOLVED,
        IncidentState.CONFIRMED,
    ]
    assert tracks[0].severity == "critical"


def test_acknowledging_keeps_the_incident_and_ends_with_it() -> None:
    confirmed = run([{"a": "bad"}, {"a": "bad"}])[-1]

    seen = acknowledge(confirmed, 99)
    assert seen.state is IncidentState.ACKNOWLEDGED
    assert acknowledge(seen, 100) is seen
    assert acknowledge(new_track("m", "model"), 1).state is IncidentState.OK
    for number in (2, 3):
        seen = step(seen, report(number, {"a": "clean"}), POLICY)
    assert seen.state is IncidentState.RESOLVED


def test_harm_in_quality_is_critical_and_drift_alone_is_not() -> None:
    drift = run([{"a": "bad"}, {"a": "bad"}])[-1]
    harm = run([{"ap": "bad"}, {"ap": "bad"}], cause=Cause.QUALITY)[-1]

    assert (drift.severity, harm.severity) == ("warning", "critical")


def test_the_key_is_stable_and_fits_a_pager() -> None:
    track = run([{"a": "bad"}, {"a": "bad"}])[-1]

    assert describe(track).dedup_key == dedup_key("m", "model") != dedup_key("m", "data")
    assert len(dedup_key("m" * 300, "model")) <= 255


def test_an_illegal_move_is_refused() -> None:
    with pytest.raises(RejectedError, match="cannot go from ok to resolved"):
        incident._move(new_track("m", "model"), IncidentState.RESOLVED)


def test_resolution_is_reachable_from_every_open_state() -> None:
    assert all(IncidentState.RESOLVED in TRANSITIONS[state] for state in OPEN)
    assert replace(new_track("m", "data"), state=IncidentState.CONFIRMED).is_open


def _reachable(before: IncidentState, after: IncidentState) -> bool:
    """One window may take several legal moves."""
    seen, front = {before}, {before}
    while front:
        front = {state for known in front for state in TRANSITIONS[known]} - seen
        seen |= front
    return after in seen
