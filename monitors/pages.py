"""Pages people: takes incidents, makes the confirming report, tells every sink once, and keeps trying.

incident ──► due? ──► report (first page of a model incident) ──► sinks, else fallback ──► page book
                                                                     └─ nobody answered: again later
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from headrace.config import Settings
from headrace.contracts.monitoring import Incident
from headrace.errors import UnavailableError
from headrace.logging import get_logger
from headrace.spec.project import Project
from monitors.agent_store import AgentStore
from monitors.delivery import Courier, deliver
from monitors.page_book import due_action, entry_name, is_pageable, note, with_latest
from monitors.report_process import report_path, run_report
from monitors.sinks import PageAction, sinks_of

__all__ = ["CURRENT", "REFERENCE", "PageDesk"]

REFERENCE, CURRENT = "reference sample", "window sample"
"""Links of an incident that the report is made of."""
RETRY_S = (5.0, 15.0, 60.0)
_log = get_logger(__name__)


class PageDesk:
    """Handles incidents of one project, one after another for each key.

    Args:
        settings: sinks and folders.
        project: thresholds of the report.
        store: holds the page book.
        courier: carries requests to sinks.
        publish: takes an incident that gained a report.
        backoff_s: rests between attempts at one sink.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        store: AgentStore,
        courier: Courier,
        publish: Callable[[Incident], Awaitable[None]],
        *,
        backoff_s: Sequence[float] | None = None,
    ) -> None:
        self._settings, self._store, self._courier, self._publish = settings, store, courier, publish
        self._floors = {model.name: model.monitors.effect_floor for model in project.models}
        self._sinks, self._fallback = sinks_of(settings.pager)
        self._backoff = {} if backoff_s is None else {"backoff_s": backoff_s}
        self._book = asyncio.Lock()
        """Held while an entry is read, changed and written: two tasks must not undo each other's words."""
        self._is_closing = False
        self._lines: dict[str, asyncio.Task[None]] = {}
        """Dedup key -> what is being told about it; the next state of the incident queues behind."""
        if not self._sinks:
            _log.warning("no pager is configured; incidents are published to the alerts topic only")

    async def take(self, incident: Incident) -> None:
        """See to it that everybody who must know this state of an incident does."""
        async with self._book:
            entry = await self._store.page(incident.model, entry_name(incident))
            if not is_pageable(incident, entry):
                return
            # Remembered before anything is sent, so that a kill does not lose the page.
            await self._store.save_page(incident.model, entry_name(incident), with_latest(entry, incident))
        if self._is_closing:
            return  # the next process resumes it
        before = self._lines.get(incident.dedup_key)
        task = asyncio.create_task(self._after(before, incident))
        task.add_done_callback(_say_why)
        self._lines[incident.dedup_key] = task

    async def resume(self) -> None:
        """Take up pages that an earlier process had promised."""
        for model in self._floors:
            for entry in (await self._store.pages(model)).values():
                if PageAction.TRIGGER not in entry.finished:
                    await self.take(entry.incident)
                await self.take(entry.latest)

    async def close(self, grace_s: float) -> None:
        """Let deliveries under way end; what is left is taken up by the next process."""
        self._is_closing = True
        tasks = [task for task in self._lines.values() if not task.done()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _after(self, before: asyncio.Task[None] | None, incident: Incident) -> None:
        if before is not None:
            await asyncio.wait([before])
        failures = 0
        while True:
            try:
                if await self._tell(incident):
                    return
            except UnavailableError as error:
                _log.warning("page waits", dedup_key=incident.dedup_key, reason=error.args[0])
            await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    async def _tell(self, incident: Incident) -> bool:
        """Tell sinks what is due; whether nothing is left to tell."""
        name = entry_name(incident)
        entry = await self._store.page(incident.model, name)
        action = due_action(incident, entry)
        if action is None:
            return True
        if action is PageAction.TRIGGER:
            incident = await self._with_report(incident)
        elif entry is not None:
            # The same labels as when it was paged: Alertmanager knows an alert by them.
            incident = replace(incident, severity=entry.incident.severity)
        done = entry.told.get(action, {}) if entry is not None else {}
        told = await deliver(
            action, incident, self._sinks, self._fallback, self._courier, done=tuple(done), **self._backoff
        )
        async with self._book:  # read again: while sinks were told, the incident may have gone on
            entry = await self._store.page(incident.model, name)
            written = note(entry, incident, action, told, len(self._sinks))
            if action is PageAction.TRIGGER:
                written = replace(written, incident=incident)
            await self._store.save_page(incident.model, name, written)
        if told:
            _log.info("paged", action=action, dedup_key=incident.dedup_key, sinks=",".join(told), text=incident.summary)
        return action in written.finished

    async def _with_report(self, incident: Incident) -> Incident:
        """The incident with its report, made now when its samples are known."""
        if incident.report_url or not {REFERENCE, CURRENT} <= incident.links.keys():
            return incident
        out = report_path(self._settings, incident)
        made = await run_report(
            Path(incident.links[REFERENCE]),
            Path(incident.links[CURRENT]),
            out,
            threshold=self._floors.get(incident.model, 0.1),
        )
        if not made:
            return incident
        entry = await self._store.page(incident.model, entry_name(incident))
        newest = entry.latest if entry is not None else incident  # it may have ended while the report was made
        await self._publish(replace(newest, report_url=str(out)))
        return replace(incident, report_url=str(out))


def _say_why(task: asyncio.Task[None]) -> None:
    """A delivery that ended by an error nobody expected must not end in silence."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("page not delivered; the next start tries again", error=error)
