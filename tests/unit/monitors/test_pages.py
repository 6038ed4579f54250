"""The page desk under interleavings a real server makes only now and then."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.config import PagerSettings, Settings
from headrace.contracts.monitoring import Incident, IncidentState
from headrace.spec.project import Project
from monitors.page_book import PageEntry
from monitors.pages import PageDesk
from monitors.sinks import PageRequest
from tests.unit.monitors.world import make_model

INCIDENT = Incident(
    dedup_key="headrace-cards-data-1",
    model="cards",
    state=IncidentState.CONFIRMED,
    kind="data",
    causes=("nulls",),
    subjects=("nulls:risk",),
    summary="bad data",
    severity="critical",
    opened_us=1,
    updated_us=1,
)


class SlowStore:
    """A page book that answers after a few turns of the loop."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._book: dict[str, PageEntry] = {}

    async def page(self, model: str, name: str) -> PageEntry | None:
        found = self._book.get(name)
        await self._dawdle()
        return found

    async def pages(self, model: str) -> dict[str, PageEntry]:
        return dict(self._book)

    async def save_page(self, model: str, name: str, entry: PageEntry) -> None:
        await self._dawdle()
        self._book[name] = entry

    async def _dawdle(self) -> None:
        for _ in range(self._random.randint(0, 4)):
            await asyncio.sleep(0)


class Receiver:
    """A pager that remembers, and can be down."""

    def __init__(self, *, down: int = 0) -> None:
        self.actions: list[str] = []
        self._down = down

    async def post(self, request: PageRequest) -> int:
        await asyncio.sleep(0)
        if self._down:
            self._down -= 1
            return 503
        self.actions.append(request.body["event_action"])
        return 202


def make_desk(tmp_path: Path, store: SlowStore, receiver: Receiver) -> PageDesk:
    async def publish(incident: Incident) -> None:
        """Nobody listens."""

    model = make_model()
    return PageDesk(
        Settings(home=tmp_path, pager=PagerSettings(pagerduty_url="http://pd", pagerduty_key="key")),
        Project(
            name="cards",
            path=tmp_path,
            streams=(model.events,),
            labels=(model.label,),
            views=(),
            requests=(),
            models=(model,),
        ),
        store,
        receiver,
        publish,
        backoff_s=(0,),
    )


@pytest.mark.parametrize("seed", range(30))
def test_however_steps_interleave_one_incident_is_one_page(tmp_path: Path, seed: int) -> None:
    store, receiver = SlowStore(seed), Receiver()

    async def story() -> None:
        desk = make_desk(tmp_path, store, receiver)
        for number in range(12):
            await desk.take(replace(INCIDENT, updated_us=number))
            await asyncio.sleep(0)
        await desk.take(replace(INCIDENT, state=IncidentState.RESOLVED, updated_us=20))
        await desk.close(5)

    asyncio.run(story())

    assert receiver.actions == ["trigger", "resolve"]


def test_what_one_process_promised_the_next_one_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitors.pages.RETRY_S", (30.0,))
    store, receiver = SlowStore(0), Receiver(down=2)

    async def killed() -> None:
        desk = make_desk(tmp_path, store, receiver)
        await desk.take(INCIDENT)
        await desk.take(replace(INCIDENT, state=IncidentState.RESOLVED))
        await desk.close(0.05)

    async def resumed() -> None:
        desk = make_desk(tmp_path, store, receiver)
        await desk.resume()
        await desk.close(5)

    asyncio.run(killed())
    assert receiver.actions == []
    asyncio.run(resumed())

    assert receiver.actions == ["trigger", "resolve"]


def test_a_closing_desk_takes_nothing_up(tmp_path: Path) -> None:
    store, receiver = SlowStore(0), Receiver()

    async def story() -> None:
        desk = make_desk(tmp_path, store, receiver)
        await desk.close(0)
        await desk.take(INCIDENT)

    asyncio.run(story())

    assert receiver.actions == []
    assert asyncio.run(store.pages("cards"))
