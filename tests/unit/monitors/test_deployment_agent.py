"""Rollbacks as incidents: each is one, and ends by whatever is deployed next."""

import pytest

from headrace.contracts.monitoring import IncidentState
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from monitors.deployment_agent import ROLLBACK, incident_of, next_tracks
from monitors.incident import IncidentTrack

NOTHING_YET = IncidentTrack(model="cards", kind=ROLLBACK)


def change(kind: str, *, by: str = "controller", at_us: int = 100, epoch: int = 2) -> RolloutChange:
    stage = Stage.STEADY if kind == ROLLBACK else Stage.SHADOW
    record = RolloutRecord(
        model="cards", epoch=epoch, stage=stage, champion="v1", reason="harm", written_by=by, at_us=at_us
    )
    return RolloutChange(record=record, kind=kind, evidence={}, wall_us=0)


@pytest.mark.parametrize(("by", "pages"), [("controller", 1), ("serving", 1), ("anna", 0)])
def test_a_rollback_that_no_person_asked_for_is_an_incident(by: str, pages: int) -> None:
    tracks = next_tracks(NOTHING_YET, change(ROLLBACK, by=by))

    assert [track.state for track in tracks] == [IncidentState.CONFIRMED] * pages


def test_the_next_deployment_ends_it() -> None:
    (open_track,) = next_tracks(NOTHING_YET, change(ROLLBACK))

    (ended,) = next_tracks(open_track, change("shadow", at_us=200))

    assert (ended.state, ended.opened_us) == (IncidentState.RESOLVED, open_track.opened_us)
    assert next_tracks(ended, change("canary", at_us=300)) == ()


def test_a_second_rollback_ends_the_first_and_pages_anew() -> None:
    """Even at the same event time: what was deployed in between may be announced by a slower writer."""
    (first,) = next_tracks(NOTHING_YET, change(ROLLBACK))

    ended, second = next_tracks(first, change(ROLLBACK, by="serving", epoch=5))

    assert (ended.state, ended.opened_us) == (IncidentState.RESOLVED, first.opened_us)
    assert (second.state, second.opened_us) == (IncidentState.CONFIRMED, first.opened_us + 1)
    keys = {incident_of(track, {}).dedup_key for track in (first, ended, second)}
    assert len(keys) == 1
