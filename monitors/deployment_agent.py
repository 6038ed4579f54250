"""What a change of the rollout record brings about: a rollback nobody asked for is paged, serving's own also signalled.

The next deployment of the model ends the rollback's incident.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from headrace.config import Settings
from headrace.contracts.control import Observation, controller_id
from headrace.contracts.monitoring import Incident, IncidentState
from headrace.contracts.rollout import RolloutChange
from headrace.spec.project import Project
from headrace.temporal_client import workflow_url
from monitors.agent_store import AgentStore, ModelIncidents
from monitors.incident import IncidentTrack, dedup_key

__all__ = ["ROLLBACK", "DeploymentAgent", "incident_of"]

ROLLBACK = "rollback"
"""Kind of the track, and of the change."""
_SERVING = "serving"
_AUTOMATIC = (_SERVING, "controller")
"""Writers that are no person; a person who rolls back needs no page."""


class DeploymentAgent:
    """Handles changes of one project's models; others are ignored.

    Args:
        settings: addresses named in incidents.
        project: its models.
        store: tracks and spool.
        announce: publishes an incident.
        signal: told when the spool has news.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        store: AgentStore,
        announce: Callable[[Incident], Awaitable[None]],
        signal: Callable[[], None],
    ) -> None:
        self._settings, self._store, self._announce, self._signal = settings, store, announce, signal
        self._models = {model.name for model in project.models}

    async def take(self, change: RolloutChange) -> None:
        """Handle one change."""
        model = change.record.model
        if model not in self._models:
            return
        known = await self._store.incidents(model)
        if change.record.epoch <= known.epoch:
            return
        tracks = next_tracks(known.track(model, ROLLBACK), change)
        for track in tracks:
            link = {"controller": workflow_url(self._settings, controller_id(model))}
            await self._announce(incident_of(track, link))
        moved = known.with_tracks({ROLLBACK: tracks[-1]}) if tracks else known
        written = replace(moved, epoch=change.record.epoch)
        await self._store.save(model, written, tripped(change, known))
        self._signal()


def next_tracks(track: IncidentTrack, change: RolloutChange) -> tuple[IncidentTrack, ...]:
    """What a change makes of the rollback incident, in order; nothing when it stays as it is; pure.

    A second rollback is a second incident: the first ends by it, for what was deployed in between may be announced
    later, or not at all, by a writer that was slower.
    """
    record = change.record
    ended = (
        (replace(track, state=IncidentState.RESOLVED, updated_us=max(record.at_us, track.updated_us)),)
        if track.is_open
        else ()
    )
    if change.kind == ROLLBACK and record.written_by in _AUTOMATIC:
        begun = replace(
            track,
            state=IncidentState.CONFIRMED,
            version=record.champion,
            # Two rollbacks may carry one event time; the epoch keeps their incidents apart.
            opened_us=max(record.at_us, track.opened_us + 1),
            updated_us=record.at_us,
            causes=(ROLLBACK,),
            subjects=(record.rollout_id or record.champion,),
            severity="critical",
            summary=f"{record.model}: rolled back to {record.champion} by {record.written_by}: {record.reason}",
        )
        return (*ended, begun)
    return ended


def tripped(change: RolloutChange, known: ModelIncidents) -> Observation | None:
    """The signal that serving rolled back by itself; it stands in the newest window, so it is no news about time."""
    record = change.record
    if change.kind != ROLLBACK or record.written_by != _SERVING:
        return None
    return Observation(
        model=record.model,
        window=known.window,
        at_us=known.until_us or record.at_us,
        tripped=record.reason or "serving rolled back",
    )


def incident_of(track: IncidentTrack, links: dict[str, str]) -> Incident:
    """The track as the contract others read."""
    return Incident(
        dedup_key=dedup_key(track.model, ROLLBACK),
        model=track.model,
        state=track.state,
        kind="model",
        causes=track.causes,
        subjects=track.subjects,
        summary=track.summary,
        severity=track.severity,
        opened_us=track.opened_us,
        updated_us=track.updated_us,
        links=links,
    )
