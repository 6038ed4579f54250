"""What one window report brings about: incident tracks step, incidents are announced, the controller gets its signal.

Idempotent: tracks, signal and the window they come from are written together, and a window at or before it is skipped.
Announcements come first, so a kill in between announces twice, under the same key, and loses nothing.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from headrace.config import Settings
from headrace.contracts.control import Observation, controller_id
from headrace.contracts.monitoring import Incident, WindowReport
from headrace.spec.project import Project
from headrace.temporal_client import workflow_url
from monitors.agent_store import AgentStore, ModelIncidents
from monitors.incident import KINDS, IncidentTrack, dedup_key, describe, step
from monitors.pages import CURRENT, REFERENCE
from monitors.report_process import report_path

__all__ = ["WindowAgent", "observe"]


class WindowAgent:
    """Handles reports of one project's models; others are ignored.

    Args:
        settings: addresses and folders named in incidents.
        project: policies.
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
        self._policies = {model.name: model.monitors for model in project.models}

    async def take(self, report: WindowReport) -> None:
        """Handle one report."""
        policy = self._policies.get(report.model)
        if policy is None:
            return
        known = await self._store.incidents(report.model)
        if report.until_us <= known.until_us:
            return
        tracks = {kind: step(known.track(report.model, kind), report, policy) for kind in KINDS}
        for kind, track in tracks.items():
            if is_news(known.track(report.model, kind), track):
                await self._announce(self._incident(track, report))
        written = replace(known.with_tracks(tracks), window=report.window, until_us=report.until_us)
        await self._store.save(report.model, written, observe(written, report))
        self._signal()

    def _incident(self, track: IncidentTrack, report: WindowReport) -> Incident:
        links = {"controller": workflow_url(self._settings, controller_id(report.model))}
        if report.reference_path and report.current_path and track.kind == "model":
            links |= {REFERENCE: report.reference_path, CURRENT: report.current_path}
        incident = describe(track, links=links)
        path = report_path(self._settings, incident)
        return replace(incident, report_url=str(path)) if path.exists() else incident


def is_news(before: IncidentTrack, after: IncidentTrack) -> bool:
    """Whether others should hear of a step."""
    if before.state is not after.state:
        return True
    return after.is_open and (before.causes, before.subjects, before.severity) != (
        after.causes,
        after.subjects,
        after.severity,
    )


def observe(known: ModelIncidents, report: WindowReport) -> Observation:
    """What the controller is told about a window: only what is confirmed, and about the version in use."""
    tracks: Mapping[str, IncidentTrack] = known.tracks
    is_open = [track for track in tracks.values() if track.is_open and track.kind in KINDS]
    model = tracks.get("model")
    requests = model is not None and model.is_open and model.insists
    return Observation(
        model=report.model,
        window=report.window,
        at_us=report.until_us,
        requests_retrain=requests,
        blocks_retrain=any(track.kind == "data" for track in is_open),
        causes=tuple(sorted({cause for track in is_open for cause in track.causes})),
        incident=dedup_key(report.model, is_open[0].kind) if is_open else "",
        evidence=report.evidence,
    )
