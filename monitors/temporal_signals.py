"""Brings observations to the controllers in Temporal, in order, each once taken; from a spool that outlives us.

Temporal away: the spool waits in Redis and is tried again, and nothing else waits for it. A signal sent twice (a kill
between sending and dropping) is the same window to the controller, which ignores it.
"""

import asyncio
from collections.abc import Sequence

from temporalio.client import Client

from headrace.config import Settings
from headrace.contracts.control import ControllerStart
from headrace.errors import UnavailableError
from headrace.logging import get_logger
from headrace.spec.project import Project
from headrace.temporal_client import connect, send_observation
from monitors.agent_store import AgentStore

__all__ = ["SignalCarrier"]

RETRY_S = (0.5, 1.0, 2.0, 5.0)
LOOK_S = 2.0
"""A spool filled by an earlier process is found without being told."""
_log = get_logger(__name__)


class SignalCarrier:
    """Empties the spools of a project's models.

    Args:
        settings: where Temporal is.
        project: its folder is what controllers are started with.
        store: holds the spools.
    """

    def __init__(self, settings: Settings, project: Project, store: AgentStore) -> None:
        self._settings, self._store = settings, store
        self._starts = {
            model.name: ControllerStart(project=str(project.path), model=model.name) for model in project.models
        }
        self._client: Client | None = None
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something was put into a spool."""
        self._news.set()

    async def run(self) -> None:
        """Carry until cancelled."""
        failures = 0
        while True:
            self._news.clear()
            try:
                for model in self._starts:
                    await self._empty(model)
            except UnavailableError as error:
                if not failures:
                    _log.warning("signals wait", reason=error.args[0])
                await asyncio.sleep(_rest(failures, RETRY_S))
                failures += 1
                continue
            if failures:
                _log.info("signals delivered again")
            failures = 0
            try:
                await asyncio.wait_for(self._news.wait(), LOOK_S)
            except TimeoutError:
                continue

    async def _empty(self, model: str) -> None:
        dropped = await self._store.bound_signals(model)
        if dropped:
            _log.warning("oldest signals dropped", model=model, dropped=dropped)
        while (signal := await self._store.first_signal(model)) is not None:
            if self._client is None:
                self._client = await connect(self._settings)
            await send_observation(self._client, self._starts[model], signal)
            await self._store.drop_signal(model, signal)


def _rest(failures: int, rests_s: Sequence[float]) -> float:
    return rests_s[min(failures, len(rests_s) - 1)]
