"""The agents process: reports become incidents, incidents become pages, and controllers hear of both.

    DRIFT topic ──► WindowAgent ──┬──► ALERTS topic ──► PageDesk ──► pagers
    DEPLOYMENTS ──► DeploymentAgent ┘        ▲              └──► the incident again, with its report
                        └──► spool ──► SignalCarrier ──► Temporal
    ALERTS topic: a person's acknowledgement changes the incident's track

Low rates, per-event logic: this is what Faust is for here.
"""

import asyncio
import contextlib
import signal
from dataclasses import replace

from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.codec import decode, encode
from headrace.contracts.monitoring import Incident, IncidentState, WindowReport
from headrace.contracts.rollout import RolloutChange
from headrace.contracts.topics import ALERTS, CONTROL_TOPICS, DEPLOYMENTS, DRIFT
from headrace.kafka_clients import ensure_topics
from headrace.logging import get_logger
from headrace.spec.project import Project
from monitors.agent_store import AgentStore
from monitors.delivery import HttpCourier
from monitors.deployment_agent import DeploymentAgent
from monitors.faust_app import ControlAgents
from monitors.incident import acknowledge, dedup_key
from monitors.pages import PageDesk
from monitors.temporal_signals import SignalCarrier
from monitors.window_agent import WindowAgent

__all__ = ["AgentsProcess", "run"]

GRACE_S = 10.0
"""Longest wait for pages under way when stopping."""
_log = get_logger(__name__)


def run(settings: Settings, project: Project) -> int:
    """Run the agents of a project until SIGTERM or Ctrl-C."""
    asyncio.run(_run(settings, project))
    return 0


async def _run(settings: Settings, project: Project) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await AgentsProcess(settings, project).run(stop)


class AgentsProcess:
    """All agents of one project.

    Args:
        settings: where things are.
        project: whose models are cared for.
    """

    def __init__(self, settings: Settings, project: Project) -> None:
        self._settings, self._project = settings, project
        self._models = {model.name for model in project.models}

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set."""
        settings, project = self._settings, self._project
        ensure_topics(settings, CONTROL_TOPICS)
        store = AgentStore(settings.redis.url, SystemClock())
        courier = HttpCourier()
        carrier = SignalCarrier(settings, project, store)
        locks = {model: asyncio.Lock() for model in self._models}

        async def announce(incident: Incident) -> None:
            await agents.send(ALERTS, incident.dedup_key, encode(incident))

        desk = PageDesk(settings, project, store, courier, announce)
        windows = WindowAgent(settings, project, store, announce, carrier.wake)
        deployments = DeploymentAgent(settings, project, store, announce, carrier.wake)

        async def on_report(value: bytes) -> None:
            report = decode(value, WindowReport)
            if report.model in locks:
                async with locks[report.model]:
                    await windows.take(report)

        async def on_change(value: bytes) -> None:
            change = decode(value, RolloutChange)
            if change.record.model in locks:
                async with locks[change.record.model]:
                    await deployments.take(change)

        async def on_incident(value: bytes) -> None:
            incident = decode(value, Incident)
            if incident.model in locks:
                if incident.state is IncidentState.ACKNOWLEDGED:
                    async with locks[incident.model]:
                        await _acknowledge(store, incident)
                await desk.take(incident)

        agents = ControlAgents(
            settings,
            f"headrace-agents-{project.name}",
            {DRIFT: on_report, DEPLOYMENTS: on_change, ALERTS: on_incident},
        )
        carrying = asyncio.create_task(carrier.run())
        try:
            await agents.start()
            await desk.resume()
            _log.info("agents at work", models=",".join(sorted(self._models)))
            ended = asyncio.create_task(stop.wait())
            await asyncio.wait([ended, carrying], return_when=asyncio.FIRST_COMPLETED)
            if carrying.done():
                carrying.result()
        finally:
            await desk.close(GRACE_S)
            await agents.stop()
            carrying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await carrying
            await courier.close()
            await store.close()


async def _acknowledge(store: AgentStore, incident: Incident) -> None:
    """A person has seen an incident; anyone may say so by publishing it as acknowledged."""
    known = await store.incidents(incident.model)
    for kind, track in known.tracks.items():
        if track.opened_us == incident.opened_us and dedup_key(incident.model, kind) == incident.dedup_key:
            acknowledged = acknowledge(track, incident.updated_us)
            if acknowledged is not track:
                await store.save(incident.model, replace(known, tracks={**known.tracks, kind: acknowledged}))
            return
